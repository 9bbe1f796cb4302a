"""What the curation signals find on drawn shots that went through h264: precision, recall and unknowns of each, on unseen seeds.

    python -m benchmarks.signals [--shots N] [--tuning] [--first SEED] [--more FLAW | --balanced] [--processes N] [--misses] [--keep FOLDER]
        [flaw ...]

Every shot is a scene from a seed with any number of flaws; for each signal it is an example of its flaw or one without. Rules may be
changed by what is seen on the tuning seeds (--tuning); the figures that are quoted come from the others, and whoever has looked at a
miss among those has used them up: raise HELD_OUT then. --more puts one flaw into about half of the shots: a quarter of a thousand
ordinary ones hold a dozen mosaics, which say little about recall. --balanced puts each of black, static, letterbox, subtitle, logo
and mosaic into at least one shot of seven.

A shot counts neither way for a flaw where the flaw's definition leaves open whether it has it; the column `open` says how many do:
black, subtitle: none.
static: black shots, slide shows, and shots in which nothing moves but grain; pans over a still that start softly or hardly move; a held
    frame over which a mosaic moves; composed pictures of which neither moves.
letterbox: a picture before its own blurred copy.
logo: a picture in a picture, which stands in a corner, too.
mosaic: of a pattern that repeats (bricks, stripes, windows: a chess board), and one of which bars leave less than half. None is drawn where
    nobody would see one: neighbouring blocks differ by 6 levels of 255 on average, and half of them by 4.
Blurs, stickers, split screens and the others: media/sample_shots.py says it where it draws them.

A shot is found where the signal reaches its bound in BOUNDS. Precision: of those found, how many have the flaw. Recall: of those that
have it and got a number, how many were found. Unknown: how many with the flaw got no number. In brackets the 95 % interval (Wilson).
"""

import argparse
import json
import math
import multiprocessing
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from skyreels_platform.curation.observe import measure
from skyreels_platform.curation.segments import Shot
from skyreels_platform.curation.signals import SIGNALS
from skyreels_platform.media.encode import write_video
from skyreels_platform.media.probe import probe
from skyreels_platform.media.sample_shots import SIGNALS as FLAWS
from skyreels_platform.media.sample_shots import Odds, draw_shot
from skyreels_platform.progress import track

TUNING, HELD_OUT = 0, 7_000_000
"""First seeds."""
BOUNDS = {
    "black": 0.2, "static": 0.3, "slideshow": 0.3, "still_pan": 0.5, "letterbox": 0.01, "blurred_fill": 0.01, "mosaic": 0.01,
    "blurred_region": 0.02, "split_screen": 0.75, "subtitle": 1e-6, "logo": 0.3, "sticker": 1e-6,
}  # fmt: skip
"""Flaw -> the value of its signal from which a shot counts as found."""
SIGNAL_OF = {"blurred_fill": "letterbox"}
"""Flaw -> the signal that finds it, where it has another name."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One shot after encoding, decoding and measuring."""

    seed: int
    flaws: set[str]
    unsure: set[str]
    values: dict[str, float | None]
    detail: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one flaw was found."""

    flaw: str
    num_shots: int
    """That count."""
    num_open: int
    """That count neither way."""
    num_flawed: int
    num_found: int
    """Right ones."""
    num_false: int
    num_missed: int
    num_unknown: int
    """Of the flawed ones."""

    @property
    def precision(self) -> float:
        return self.num_found / max(1, self.num_found + self.num_false)

    @property
    def recall(self) -> float:
        return self.num_found / max(1, self.num_found + self.num_missed)


def see(seed: int, names: Sequence[str], folder: str, odds: Odds) -> Seen:
    """Draw, encode, decode and measure one shot; one that lies encoded in the folder is not drawn again."""
    cv2.setNumThreads(1)
    path, about = Path(folder) / f"{seed}.mp4", Path(folder) / f"{seed}.json"
    if not about.exists():
        shot = draw_shot(seed, odds)
        write_video(path, shot.clip, shot.fps, crf=shot.crf, preset="veryfast")
        facts = {"count": len(shot.clip), "flaws": sorted(shot.flaws), "unsure": sorted(shot.unsure), "detail": shot.detail}
        about.write_text(json.dumps(facts))
    facts = json.loads(about.read_text())
    source = probe(path)
    span = Shot(
        start_frame=0, end_frame=facts["count"], start_s=0.0, end_s=facts["count"] * source.fps_den / source.fps_num, transition_in="start"
    )  # fmt: skip
    ((scores, _),) = measure(path, source, [span], kinds=[SIGNALS[name] for name in names])
    return Seen(
        seed=seed, flaws=set(facts["flaws"]), unsure=set(facts["unsure"]), detail=facts["detail"],
        values={score.signal: score.value for score in scores},
    )  # fmt: skip


def see_all(seeds: Sequence[int], names: Sequence[str], folder: str, processes: int, odds: Odds) -> list[Seen]:
    """All shots, in the order of their seeds."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        shots = pool.imap(partial(see, names=names, folder=folder, odds=odds), seeds, chunksize=4)
        return list(track(shots, "shots", total=len(seeds)))


def value_of(flaw: str, shot: Seen) -> float | None:
    """What the flaw's signal measured."""
    return shot.values[SIGNAL_OF.get(flaw, flaw)]


def judged(flaw: str, shots: Iterable[Seen]) -> tuple[Row, list[Seen]]:
    """One flaw's row, and the shots that its signal got wrong."""
    shots = list(shots)
    counted = [shot for shot in shots if flaw not in shot.unsure]
    flawed = [shot for shot in counted if flaw in shot.flaws]
    found = [shot for shot in counted if (value := value_of(flaw, shot)) is not None and value >= BOUNDS[flaw]]
    right = [shot for shot in found if flaw in shot.flaws]
    missed = [shot for shot in flawed if value_of(flaw, shot) is not None and shot not in right]
    false = [shot for shot in found if flaw not in shot.flaws]
    row = Row(
        flaw=flaw, num_shots=len(counted), num_open=len(shots) - len(counted), num_flawed=len(flawed), num_found=len(right),
        num_false=len(false), num_missed=len(missed), num_unknown=len(flawed) - len(right) - len(missed),
    )  # fmt: skip
    return row, missed + false


def interval(hits: int, total: int) -> str:
    """Wilson's 95 % interval of a share."""
    if not total:
        return ""
    z, share = 1.96, hits / total
    middle, width = share + z * z / 2 / total, z * math.sqrt(share * (1 - share) / total + z * z / 4 / total / total)
    return f"({(middle - width) / (1 + z * z / total):.2f}-{(middle + width) / (1 + z * z / total):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flaws", nargs="*", metavar="flaw", help="what to look for; everything by default")
    parser.add_argument("--shots", type=int, default=600)
    parser.add_argument("--tuning", action="store_true", help="shots that rules may be set on")
    parser.add_argument("--first", type=int, help="first seed; by default that of the range")
    parser.add_argument("--more", choices=FLAWS, metavar="FLAW", help="a flaw that about half of the shots carry")
    parser.add_argument("--balanced", action="store_true", help="as many shots with each of the six commonest flaws")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--misses", action="store_true", help="list the shots on the wrong side of a bound")
    parser.add_argument("--keep", type=Path, help="folder in which encoded shots are kept, to be measured again")
    asked = parser.parse_args()
    first = (TUNING if asked.tuning else HELD_OUT) if asked.first is None else asked.first
    flaws = asked.flaws or list(BOUNDS)
    if unknown := set(flaws) - set(BOUNDS):
        parser.error(f"{', '.join(sorted(unknown))}: no such flaw; known: {', '.join(BOUNDS)}")
    names = list(dict.fromkeys(SIGNAL_OF.get(flaw, flaw) for flaw in flaws))
    if asked.more and asked.balanced:
        parser.error("give --more or --balanced, not both")
    odds = Odds().with_more(asked.more) if asked.more else Odds.balanced() if asked.balanced else Odds()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        shots = see_all(range(first, first + asked.shots), names, str(folder), asked.processes, odds)
    many = f", much {asked.more}" if asked.more else ", balanced" if asked.balanced else ""
    print(f"{asked.shots} shots, seeds {first} to {first + asked.shots - 1}{many}, {time.perf_counter() - started:.0f} s\n")
    print(f"{'flaw':<16}{'bound':>6}{'shots':>7}{'open':>6}{'flawed':>8}  {'precision':<20}{'recall':<20}{'unknown':>7}")
    for flaw in flaws:
        row, wrong = judged(flaw, shots)
        precision = f"{row.precision:.3f} {interval(row.num_found, row.num_found + row.num_false)}"
        recall = f"{row.recall:.3f} {interval(row.num_found, row.num_found + row.num_missed)}"
        counts = f"{row.num_shots:>7}{row.num_open:>6}{row.num_flawed:>8}"
        print(f"{flaw:<16}{BOUNDS[flaw]:>6g}{counts}  {precision:<20}{recall:<20}{row.num_unknown:>7}")
        if asked.misses:
            for shot in wrong:
                print(f"    {'missed' if flaw in shot.flaws else 'false'} {shot.seed}: {value_of(flaw, shot):.4g}; {shot.detail}")


if __name__ == "__main__":
    main()
