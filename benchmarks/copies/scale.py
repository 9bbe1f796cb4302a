"""Synthetic fingerprints, indexed and matched batch by batch: what a batch costs as the store grows."""

import time
from pathlib import Path

import cv2
import numpy as np

from skyreels_platform.curation.dedup import match_batch
from skyreels_platform.curation.fingerprint import COLOUR_SIDE, Fingerprint, describe
from skyreels_platform.curation.fingerprint_store import FingerprintStore, fingerprint_row


def scale(num_shots: int, folder: Path) -> None:
    """Match synthetic shots batch by batch; one in fifty repeats a shot of an earlier batch."""
    store = FingerprintStore(str(folder / "scale"))
    rows, found, made = [], 0, 0
    seeds = np.arange(num_shots)  # what each shot shows; a copy may be copied in turn
    print(f"\n{num_shots:,} synthetic shots in batches of 1,000\n\n{'batch':>6} {'wall s':>8} {'core s':>8} {'compared':>9} {'found':>6}")
    for number in range(num_shots // 1000):
        batch = f"b{number:06d}"
        generator = np.random.default_rng(number)
        places = generator.choice(1000, 20, replace=False).tolist() if number else []
        copies = {place: int(generator.integers(number * 1000)) for place in places}
        for place, original in copies.items():
            seeds[number * 1000 + place] = seeds[original]
        shots = _synthetic(seeds[number * 1000 :][:1000].tolist(), set(copies))
        content = [fingerprint_row(f"s{number * 1000 + place:07d}", shot, "p") for place, shot in enumerate(shots)]
        started, cores = time.perf_counter(), time.process_time()
        store.put([{**row, "batch": batch} for row in content])
        result = match_batch(store, batch)
        rows.append((time.perf_counter() - started, time.process_time() - cores))
        expected = {(f"s{number * 1000 + place:07d}", f"s{original:07d}") for place, original in copies.items()}
        hits = len(expected & {(row["shot_id"], row["other_id"]) for row in result.rows})
        found, made = found + hits, made + len(expected)
        if number % max(1, num_shots // 20_000) == 0 or number < 12 or number == num_shots // 1000 - 1:
            print(f"{number:>6} {rows[-1][0]:>8.2f} {rows[-1][1]:>8.2f} {result.num_compared:>9} {hits:>3}/{len(expected)}", flush=True)
    some = min(10, len(rows) // 2)
    print()
    for name, times in zip(("wall", "core"), np.array(rows).T, strict=True):
        first, last = np.median(times[1 : 1 + some]), np.median(times[-some:])  # the first batch has nothing to be matched with
        print(f"{name} s: median of batches 1 to {some} {first:.2f}, of the last {some} {last:.2f}, x {last / first:.2f}; "
              f"mean {times.mean():.2f}, worst {times.max():.2f}")  # fmt: skip
    print(f"copies found {found} of {made}")


_FREQUENCIES = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64)[None]) + 1e-3  # cycles per pixel; the mean is taken away later


def _synthetic(seeds: list[int], copies: set[int]) -> list[Fingerprint]:
    """Textures through which a window moves for 2 s; those at the places `copies` have noise added.

    Their amplitudes fall with frequency as in photographs: of 100,000 textures of one blur, many would be alike.
    """
    drawn = np.empty((len(seeds), 16, 32, 32), np.float32)
    for place, seed in enumerate(seeds):
        generator = np.random.default_rng((7, seed))
        noise = np.fft.rfft2(generator.standard_normal((64, 64)))
        world = np.fft.irfft2(noise * _FREQUENCIES ** -generator.uniform(0.8, 1.3)).astype(np.float32)
        world = 128 + 45 * (world - world.mean()) / world.std()
        across, down = generator.uniform(-1.5, 1.5, 2)
        for step in range(16):
            cv2.getRectSubPix(world, (32, 32), (31.5 + across * (step - 8), 31.5 + down * (step - 8)), drawn[place, step])
        if place in copies:
            drawn[place] = 1.1 * drawn[place] + np.random.default_rng(seed).normal(0, 3, drawn[place].shape)
    pictures = np.clip(drawn, 0, 255).astype(np.uint8)
    marks = np.arange(0, 16, 4, dtype=np.int32)
    vectors = describe(pictures[:, marks].reshape(-1, 32, 32)).reshape(len(seeds), len(marks), -1)
    times, colours = np.arange(16, dtype=np.float32) / 8, np.full((4, COLOUR_SIDE, COLOUR_SIDE, 2), 128, np.uint8)
    return [
        Fingerprint(media="video", duration_s=2.0, times=times, pictures=mine, marks=marks, vectors=own, colours=colours)
        for mine, own in zip(pictures, vectors, strict=True)
    ]
