"""Transformed copies: what is found of them among other takes of the same scenes and neighbouring real shots."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.copies.clips import drawn_clips, encoded, real_clips
from benchmarks.copies.transformations import FURTHER, TRANSFORMATIONS
from skyreels_platform.curation.dedup import MatchResult, match_batch
from skyreels_platform.curation.fingerprint_store import FingerprintStore, fingerprint_row

LEAST_CONTRAST = 10.0
"""Levels of 255: shots that show less (black, cards of one colour with a timecode, small titles) are no test of copy detection."""


def copies(numdrawn_clips: int, num_clips: int | None, seed: int, folder: Path) -> None:
    """Recall and precision on transformed copies."""
    clips = [*drawn_clips(numdrawn_clips, seed), *real_clips(num_clips)]
    originals = [(clip.name, clip.name, "", encoded(clip.film, clip.fps, 18, folder)) for clip in clips]
    shown = [entry for entry in originals if np.mean([p.std() for p in entry[3].pictures]) >= LEAST_CONTRAST]
    keep = {name for name, *_ in shown}
    made = []
    for place, clip in enumerate(clip for clip in clips if clip.name in keep and not clip.name.endswith("take)")):
        generator = np.random.default_rng((5, seed, place))
        for kind, (name, change) in enumerate(TRANSFORMATIONS.items()):
            if (place + kind + seed) % 3 == 0:
                film, fps, crf = change(clip, generator)
                made.append((f"{clip.name} > {name}", clip.name, name, encoded(film, fps, crf, folder)))
    store = FingerprintStore(str(folder / "copies"))
    owner = {}
    for batch, entries in (("b000001", shown), ("b000002", made)):
        for shot_id, original, _, _ in entries:
            owner[shot_id] = original
        store.put([{**fingerprint_row(shot_id, fingerprint, "p"), "batch": batch} for shot_id, _, _, fingerprint in entries])
    started = time.perf_counter()
    results = [match_batch(store, batch) for batch in ("b000001", "b000002")]
    _report(made, owner, results, len(shown), time.perf_counter() - started)


def _report(made: list[Any], owner: dict[str, str], results: list[MatchResult], num_shots: int, seconds: float) -> None:
    pairs = {(row["shot_id"], row["other_id"]): row for result in results for row in result.rows}
    false = [pair for pair in pairs if owner[pair[0]] != owner[pair[1]]]
    compared = sum(result.num_compared for result in results)
    print(f"\n{len(made)} copies of {num_shots} shots, {compared} pairs aligned in {seconds:.0f} s\n")
    print(f"{'transformation':<16} {'copies':>7} {'found':>6} {'recall':>7} {'matches':>8} {'false':>6} {'precision':>9}")
    kinds = {shot_id: name for shot_id, _, name, _ in made}
    asked = TRANSFORMATIONS.keys() - FURTHER
    groups: list[tuple[str, Callable[[str, str], bool]]] = [
        *((name, lambda kind, _, name=name: kind == name) for name in TRANSFORMATIONS),
        ("all but *", lambda kind, _: kind not in FURTHER), ("drawn, but *", lambda kind, shot: kind in asked and shot[:5] == "scene"),
        ("filmed, but *", lambda kind, shot: kind in asked and shot[:5] != "scene"), ("all", lambda *_: True),
    ]  # fmt: skip
    for title, belongs in groups:
        hits = [(shot_id, original) in pairs for shot_id, original, name, _ in made if belongs(name, shot_id)]
        mine = [pair for pair in pairs if belongs(kinds.get(pair[0], ""), pair[0])]
        wrong = sum(pair in false for pair in mine)
        mark = " *" if title in FURTHER else ""
        print(f"{title + mark:<16} {len(hits):>7} {sum(hits):>6} {np.mean(hits):>7.3f} {len(mine):>8} {wrong:>6} "
              f"{1 - wrong / max(1, len(mine)):>9.3f}")  # fmt: skip
    for shot_id, original, _, _ in made:
        if (shot_id, original) not in pairs:
            print(f"  missed: {shot_id}")
    for pair in false:
        print(f"  false: {pair[0]} = {pair[1]} ({pairs[pair]['similarity']:.2f})")
