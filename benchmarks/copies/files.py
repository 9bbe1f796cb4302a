"""Copies in files: in the demo's sample films, and in real files that show the same content."""

from pathlib import Path

from benchmarks.copies.clips import FOOTAGE, fingerprint_of, shot_spans
from skyreels_platform.curation.dedup import match_batch
from skyreels_platform.curation.fingerprint_store import FingerprintStore, fingerprint_row
from skyreels_platform.media.probe import probe
from skyreels_platform.media.sample_film import sample_library

TRAILER = {"ar_sintel.mp4": 0, "cosmos_clip10.mp4": 122, "cosmos_video30.mp4": 50, "flux_sintel.webm": 242, "jet_sintel.mp4": 722}
"""File -> the frame of the trailer that it begins with."""


def films(quick: bool, seed: int, folder: Path) -> None:
    """The sample films of several seeds: the two copies of each that are meant, and what else is called a copy."""
    print(f"\n{'sample films':<14} {'shots':>6} {'meant':>6} {'found':>6} {'others':>7}")
    for number in range(seed, seed + (1 if quick else 4)):
        store, shots = FingerprintStore(str(folder / f"films{number}")), []
        meant = set()
        for path, truth in sample_library(folder / f"library{number}", seed=number):
            for place, shot in enumerate(truth.shots):
                made = fingerprint_of(path, shot.start, shot.end, (shot.end - shot.start) / truth.fps)
                shots.append({**fingerprint_row(f"{path.stem}:{place}", made, "p"), "batch": "b000001"})
                if shot.copy_of:
                    meant.add(frozenset((f"{path.stem}:{place}", shot.copy_of)))
        store.put(shots)
        found = {frozenset((row["shot_id"], row["other_id"])): row for row in match_batch(store, "b000001").rows}
        print(f"seed {number:<9} {len(shots):>6} {len(meant):>6} {len(meant & found.keys()):>6} {len(found.keys() - meant):>7}")
        for pair in found.keys() - meant:
            print(f"  {' = '.join(sorted(pair))} ({found[pair]['similarity']:.2f})")


def footage(folder: Path) -> None:
    """Matches among real files of the same content."""
    groups = [["vdf_cat.1.mp4", "vdf_cat.2.mp4", "vdf_cat.3.webm"], ["mdn_rabbit.mp4", "mdn_rabbit320.mp4"], [*TRAILER, "mango_sintel.mp4"]]
    store = FingerprintStore(str(folder / "footage"))
    starts: dict[str, tuple[str, float, float]] = {}
    results = []
    for number, name in enumerate(name for group in groups for name in group):
        path, batch = FOOTAGE / "videos" / name, f"b{number:06d}"
        if not path.exists():
            print(f"{path} is not there")
            return
        facts = probe(path)
        fps = facts.fps_num / facts.fps_den
        rows = []
        spans = shot_spans(FOOTAGE / "videos" / "vdf_cat.1.mp4") if name.startswith("vdf") else shot_spans(path)
        for start, stop in spans:
            if stop - start >= fps / 2:
                shot_id = f"{name} {start}"
                starts[shot_id] = (name, start / fps, stop / fps)
                rows.append({**fingerprint_row(shot_id, fingerprint_of(path, start, stop, (stop - start) / fps), "p"), "batch": batch})
        store.put(rows)
        results += match_batch(store, batch).rows
    print(f"\n{'shot':<24} {'repeats':<24} {'similar':>8} {'seconds':>8} {'speed':>6} {'offset s':>9} {'expected':>9}")
    false = 0
    for row in sorted(results, key=lambda row: (row["shot_id"], row["other_id"])):
        name, start, _ = starts[row["shot_id"]]
        other, other_start, _ = starts[row["other_id"]]
        offset = other_start + row["other_start_s"] - start - row["start_s"]
        expected = _expected(name, other)
        wrong = expected is None or abs(offset - expected) > 0.25
        false += wrong
        shown = "none" if expected is None else f"{expected:.2f}"
        print(f"{row['shot_id']:<24} {row['other_id']:<24} {row['similarity']:>8.2f} {row['duration_s']:>8.2f} {row['speed']:>6.2f} "
              f"{offset:>9.2f} {shown:>9}{'  WRONG' if wrong else ''}")  # fmt: skip
    wanted, found = _pairs_to_find(starts), {frozenset((row["shot_id"], row["other_id"])) for row in results}
    print(f"\n{len(wanted & found)} of {len(wanted)} pairs that share at least 1 s found, {false} of {len(results)} matches wrong")
    for pair in sorted(map(sorted, wanted - found)):
        print(f"  missed: {' = '.join(pair)}")


def _expected(name: str, other: str) -> float | None:
    """Seconds of `other` minus seconds of `name` at the same picture; None for files that share nothing."""
    if name in TRAILER and other in TRAILER:
        return (TRAILER[name] - TRAILER[other]) / 24
    return 0.0 if name[:6] == other[:6] and name not in TRAILER and name != other else None


def _pairs_to_find(starts: dict[str, tuple[str, float, float]]) -> set[frozenset[str]]:
    wanted = set()
    for one, (name, start, stop) in starts.items():
        for two, (other, other_start, other_stop) in starts.items():
            offset = _expected(name, other)
            if name < other and offset is not None and min(stop + offset, other_stop) - max(start + offset, other_start) >= 1.25:
                wanted.add(frozenset((one, two)))
    return wanted
