"""Copy detection: cost per batch as the store grows, and what is found of transformed copies of sample scenes and real shots.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.dedup [--quick] [--seed N] [scale] [copies] [films] [footage]

scale    synthetic fingerprints, matched in batches of 1,000: wall and core seconds per batch from the first to the last
copies   every shot is copied with a third of the transformations and matched among all shots, other takes and neighbours included
films    the demo's sample films, which hold two copies and many other takes of one subject on a plain wall
footage  real files that show the same content: the matches found and their offsets

BLAS with threads of its own spins while it waits, which on a busy machine costs more than the work.
"""

import argparse
import resource
import tempfile
from pathlib import Path

import cv2

from benchmarks.copies.files import films, footage
from benchmarks.copies.scale import scale
from benchmarks.copies.transformed import copies


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the tables that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5,000 synthetic shots and a few clips")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn scenes and of all parameters")
    parser.add_argument("--scenes", type=int, help="drawn scenes that are copied; each has one to three other takes")
    parser.add_argument("--clips", type=int, help="real shots that are copied, at most")
    parser.add_argument("--shots", type=int, help="synthetic shots, a multiple of 1,000")
    parser.add_argument("parts", nargs="*", default=["scale", "copies", "films", "footage"])
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        if "scale" in chosen.parts:
            scale(chosen.shots or (5_000 if chosen.quick else 100_000), Path(folder))
        if "copies" in chosen.parts:
            num_clips = 8 if chosen.quick and chosen.clips is None else chosen.clips
            copies(chosen.scenes or (6 if chosen.quick else 40), num_clips, chosen.seed, Path(folder))
        if "films" in chosen.parts:
            films(chosen.quick, chosen.seed, Path(folder))
        if "footage" in chosen.parts:
            footage(Path(folder))
    print(f"\npeak memory {_peak():.0f} MB")


if __name__ == "__main__":
    main()
