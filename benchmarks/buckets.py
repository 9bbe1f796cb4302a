"""Bucketing on a synthetic mix of footage and on annotated real shots: padding, dropped data, equal order after a resume, memory model.

    python -m benchmarks.buckets [--shots 20000]        # seconds
    python -m benchmarks.buckets --memory               # real training steps in processes of their own, a minute

What a rule about data leaves out is not dropped by bucketing, and the two are counted apart. Rules are the shortest shot (the recipe's,
our choice), 16 frames per second at least (paper) and 24 alone in fine-tuning (paper). Whatever they admit must find a bucket.

Peers: one length and one aspect per stage (everything else is left out), and batches of clips as they come, padded to the largest.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from model.batch_sizes import Measurement, MemoryModel, batch_sizes
from model.buckets import TRAIN_FPS, Bucket, DualAxisBuckets, JointSampler, NoBucketError, normalize_fps, rank_slice
from skyreels_platform.curation.snapshot import buckets_of
from skyreels_platform.recipe import load_recipe

# Shares of a mixed library (our choice): delivery rates, and display aspects.
_RATES = {24000 / 1001: 0.25, 24.0: 0.15, 25.0: 0.2, 30000 / 1001: 0.2, 30.0: 0.1, 50.0: 0.03, 60000 / 1001: 0.05, 16.0: 0.01, 15.0: 0.01}
_SIZES = {(1920, 1080): 0.5, (1920, 804): 0.15, (1080, 1920): 0.15, (1440, 1080): 0.08, (1080, 1080): 0.06, (1620, 1080): 0.06}
_MEDIAN_S, _SPREAD, _LONGEST_S = 3.5, 0.8, 20.0  # log-normal shot lengths, cut at the recipe's longest shot
_IMAGES = 0.2  # of the items
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Item:
    """One shot or image."""

    width: int
    height: int
    num_frames: int
    fps: float

    @property
    def duration_s(self) -> float:
        return self.num_frames / self.fps if self.num_frames > 1 else 0.0


def synthetic(count: int, seed: int = 0) -> list[Item]:
    """A mix of shots and images, lengths from a quarter of a second to 20 s."""
    random = np.random.default_rng(seed)
    rates = random.choice(list(_RATES), count, p=np.array([*_RATES.values()]) / sum(_RATES.values()))
    sizes = random.choice(len(_SIZES), count, p=np.array([*_SIZES.values()]) / sum(_SIZES.values()))
    seconds = np.minimum(random.lognormal(np.log(_MEDIAN_S), _SPREAD, count), _LONGEST_S)
    is_image = random.random(count) < _IMAGES
    shapes = list(_SIZES)
    return [
        Item(width=shapes[sizes[n]][0], height=shapes[sizes[n]][1], fps=float(rates[n]),
             num_frames=1 if is_image[n] else max(2, round(float(seconds[n] * rates[n]))))
        for n in range(count)
    ]  # fmt: skip


def annotated(data: Path) -> list[Item]:
    """Every annotated shot of the real footage, long ones cut as the platform cuts them; files without annotation are one shot."""
    rules, items = load_recipe("skyreels_v2_1.3b").shots, []
    for film in json.loads((data / "manifest.json").read_text(encoding="utf-8")):
        truth = json.loads((data / film["truth"]).read_text(encoding="utf-8")) if film.get("truth") else {}
        for start, end in truth.get("shots") or [(0, film["frames"])]:
            longest, shortest = round(rules.max_length_s * film["fps"]), rules.min_length_s * film["fps"]
            cuts = [*range(start, end, longest), end]
            if len(cuts) > 2 and cuts[-1] - cuts[-2] < shortest:
                del cuts[-2]  # a short remainder stays with the part before it
            items += [Item(width=film["width"], height=film["height"], num_frames=last - first, fps=film["fps"])
                      for first, last in pairwise(cuts)]  # fmt: skip
    return items


def assign(buckets: DualAxisBuckets, items: Iterable[Item]) -> tuple[list[tuple[Item, Bucket]], Counter[str]]:
    """Items with their bucket; kinds of reasons of the others."""
    taken, reasons = [], Counter()
    for number, item in enumerate(items):
        try:
            taken.append((item, buckets.assign(item.width, item.height, item.num_frames, item.fps, key=str(number))))
        except NoBucketError as error:
            reasons[str(error).partition(":")[0]] += 1
    return taken, reasons


def seconds_of(items: Iterable[Item]) -> float:
    return sum(item.duration_s for item in items)


def share(part: Sequence[Item], whole: Sequence[Item]) -> str:
    """Number, and share of the shots and of their seconds."""
    return f"{len(part)} ({len(part) / len(whole):.2%}, {seconds_of(part) / seconds_of(whole):.2%} of the seconds)"


def covered_s(taken: Iterable[tuple[Item, Bucket]], most: int) -> float:
    """Seconds of the shots that lie in one of their clips, spread evenly as a data set spreads them."""
    return sum(min(item.duration_s, most * bucket.num_frames / bucket.train_fps) for item, bucket in taken)


def tokens(bucket: Bucket) -> int:
    """Of one clip: a token is 16 x 16 pixels of 4 frames."""
    return ((bucket.num_frames - 1) // 4 + 1) * (bucket.height // 16) * (bucket.width // 16)


def report(name: str, items: Sequence[Item]) -> None:
    """Data not admitted, dropped and padded on one set of items, ours and the peers'."""
    recipe = load_recipe("skyreels_v2_1.3b")
    settings = recipe.datasets["256p"]
    films = [item for item in items if item.num_frames > 1]
    print(f"{name}: {len(items)} items, {len(films)} of them shots, {seconds_of(films) / 3600:.2f} h")
    short = [item for item in films if item.duration_s < recipe.shots.min_length_s]
    slow = [item for item in films if item.duration_s >= recipe.shots.min_length_s and item.fps < min(TRAIN_FPS)]
    print(f"  refused before bucketing: {share(short, films)} shorter than {recipe.shots.min_length_s:g} s, "
          f"{share(slow, films)} below {min(TRAIN_FPS)} fps")  # fmt: skip
    admitted = [item for item in films if item not in short and item not in slow]
    for dataset, values in recipe.datasets.items():
        wanted = [item for item in admitted if normalize_fps(item.fps) in values.train_fps]
        kept, reasons = assign(buckets_of(values, 16), wanted)
        ruled_out = [item for item in admitted if item not in wanted]
        rates = " and ".join(map(str, values.train_fps))
        rule = f", not admitted (trains at {rates} fps alone) {share(ruled_out, admitted)}" if ruled_out else ""
        print(f"  {dataset}: of {len(admitted)} shots{rule}, dropped {sum(reasons.values())}{f' {dict(reasons)}' if reasons else ''}; "
              f"{covered_s(kept, values.max_clips_per_shot) / seconds_of(wanted):.1%} of the seconds are in clips")  # fmt: skip
    images = [item for item in items if item.num_frames == 1]
    taken, reasons = assign(buckets_of(settings, 16), admitted + images)
    print(f"  256p with its {len(images)} images: {len(taken)} of {len(admitted) + len(images)} have a bucket")
    one = DualAxisBuckets(resolution=settings.resolution, multiple=16, frame_counts=(97,), aspects=((16, 9),))
    square = [item for item, _ in assign(one, films)[0] if abs(item.width / item.height / (16 / 9) - 1) < 0.05]
    print(f"  one length, one aspect ({one.frame_counts[0]} frames, 16:9): {1 - len(square) / len(films):.1%} of the shots dropped")

    bucket_of = [bucket for _, bucket in taken]
    counts = Counter(bucket_of)
    sizes = batch_sizes({bucket: (tokens(bucket), count) for bucket, count in counts.items()}, batch_size=_BATCH, multiple=8)
    sampler = JointSampler(bucket_of, [b.num_frames == 1 for b in bucket_of], sizes, 0, image_share=settings.image_share)
    num_batches = sum(-(-count // sizes[bucket]) for bucket, count in counts.items())
    padded = real = 0
    per_batch: dict[Bucket, int] = {}
    for number in range(num_batches):
        batch = [bucket_of[position] for position in sampler.batch(number)]
        real += sum(map(tokens, batch))
        padded += len(batch) * max(map(tokens, batch))
        per_batch[batch[0]] = sum(map(tokens, batch))
    random = np.random.default_rng(1)
    shuffled = random.permutation([tokens(bucket) for bucket in bucket_of])
    loose = [shuffled[start : start + _BATCH] for start in range(0, len(shuffled), _BATCH)]
    loose_padded = sum(len(batch) * batch.max() for batch in loose)
    loose_waste = loose_padded / shuffled.sum() - 1
    print(f"  padding: {padded / real - 1:.2%} of the tokens; clips as they come, padded to the largest: {loose_waste:.0%}")
    largest = max(per_batch.values())
    full = [held for bucket, held in per_batch.items() if counts[bucket] * tokens(bucket) >= largest]
    spread = f"{min(full) / largest:.2f}" if full else "no bucket"
    print(f"  {len(counts)} buckets; tokens per batch, smallest over largest: {spread} where there are clips for a batch")
    check_order(bucket_of, sizes, settings.image_share)


def check_order(bucket_of: Sequence[Bucket], sizes: dict[Bucket, int], share: float, num_batches: int = 400) -> None:
    """Every rank's order, uninterrupted and resumed at random moments, for 1, 2, 4 and 8 ranks."""
    is_image = [bucket.num_frames == 1 for bucket in bucket_of]

    def make() -> JointSampler:
        return JointSampler(bucket_of, is_image, sizes, 7, image_share=share)

    def digest(batches: Iterable[list[int]], rank: int, world: int) -> str:
        text = json.dumps([rank_slice(batch, rank, world) for batch in batches])
        return hashlib.sha256(text.encode()).hexdigest()

    whole = make()
    straight = [whole.batch(number) for number in range(num_batches)]
    moments = sorted(np.random.default_rng(3).integers(1, num_batches, 5).tolist())
    started = time.perf_counter()
    equal = 0
    for world in (1, 2, 4, 8):
        for rank in range(world):
            resumed: list[list[int]] = []
            for first, last in zip([0, *moments], [*moments, num_batches], strict=True):
                sampler = make()  # a new process knows nothing of the batches before
                resumed += [sampler.batch(number) for number in range(first, last)]
            equal += digest(straight, rank, world) == digest(resumed, rank, world)
    spent = time.perf_counter() - started
    print(f"  order after 5 resumes: {equal} of 15 rank orders identical over {num_batches} batches ({spent:.1f} s)")


# ---- memory --------------------------------------------------------------------------------------------------------------------

_STEPS = [(4, 2), (4, 8), (4, 24), (16, 4), (16, 12), (36, 2), (36, 8), (64, 4)]  # tokens per frame, clips
_HELD_OUT = [(9, 12), (36, 4), (64, 2)]
_FRAMES = 9  # latents


def peak_of(tokens_per_frame: int, clips: int) -> float:
    """Peak memory of one process that takes two training steps of a 40-million-parameter model, in bytes."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_train_and_measure, (tokens_per_frame, clips))


def _train_and_measure(tokens_per_frame: int, clips: int) -> float:
    import torch

    from model.transformer import SkyReelsTransformer

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    model = SkyReelsTransformer.from_config({
        "num_attention_heads": 4, "attention_head_dim": 128, "ffn_dim": 2048, "num_layers": 8, "text_dim": 64, "freq_dim": 64,
    })  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters())
    side = int(tokens_per_frame**0.5) * 2
    for _ in range(2):
        latents = torch.randn(clips, 16, _FRAMES, side, side)
        velocity = model(latents, torch.full((clips, _FRAMES), 500.0), torch.randn(clips, 32, 64))
        velocity.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def report_memory() -> None:
    """Fit the memory model to measured steps and hold it against others."""
    steps = [Measurement(tokens=n * _FRAMES, clips=clips, peak_bytes=peak_of(n, clips)) for n, clips in _STEPS]
    fitted = MemoryModel.fit(steps)
    per_clip, per_token = fitted.clip_bytes / 2**10, fitted.token_bytes / 2**10
    print(f"memory: fixed {fitted.fixed_bytes / 2**20:.0f} MiB, per clip {per_clip:.0f} KiB, per token {per_token:.0f} KiB")
    for n, clips in _HELD_OUT:
        peak, said = peak_of(n, clips), fitted.peak(n * _FRAMES, clips)
        errors = f"measured {peak / 2**20:.0f} MiB, predicted {said / 2**20:.0f} ({said / peak - 1:+.1%})"
        print(f"  held out: {clips} clips of {n * _FRAMES} tokens: {errors}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shots", type=int, default=20_000)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--memory", action="store_true", help="fit the memory model to steps that are run")
    options = parser.parse_args()
    if options.memory:
        report_memory()
        return
    report("synthetic mix", synthetic(options.shots))
    if (options.data / "manifest.json").is_file():
        report("real shots", annotated(options.data))


if __name__ == "__main__":
    main()
