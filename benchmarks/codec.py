"""Fidelity of the DCT codec on sample films and, where footage is present, on real clips: PSNR in dB at 32-pixel training size.

    python -m benchmarks.codec [--clips N]
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from model.codec import DctCodec, to_pixels
from skyreels_platform.media.decode import clip, frames
from skyreels_platform.media.sample_film import library_specs, render_film

_CHANNELS = (8, 16, 25)


def sample_clips(folder: Path, count: int) -> Iterator[np.ndarray]:
    """The first 17 frames of the first `count` shots of one sample film."""
    spec = library_specs()[0]
    path = folder / f"{spec.name}.mp4"
    truth = render_film(path, spec, seed=0)
    for shot in truth.shots[:count]:
        if shot.end - shot.start >= 17:
            yield clip(path, start_frame=shot.start, end_frame=shot.start + 17, size=(32, 32))


def real_clips(folder: Path, most: int) -> Iterator[np.ndarray]:
    """17 frames from the middle of each of `most` real files, 24 x 40 pixels."""
    for path in sorted(folder.iterdir())[:most]:
        count = sum(1 for _ in frames(path, size=(16, 16)))
        if count >= 17:
            yield clip(path, start_frame=count // 2 - 8, end_frame=count // 2 + 9, size=(40, 24))


def psnr(codec: DctCodec, films: list[np.ndarray]) -> float:
    """dB of the mean squared error over all clips: a black clip comes back exactly, and a mean of its decibels would be infinite."""
    errors = [(codec.decode(codec.encode(pixels)) - pixels).square().mean() for pixels in map(to_pixels, films)]
    return float(10 * torch.log10(4 / torch.stack(errors).mean()))


def main() -> None:
    """Print one line per kind of footage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=12, help="clips of each kind, at most; default 12")
    options = parser.parse_args()
    footage = Path(os.environ.get("SKYREELS_FOOTAGE", Path(__file__).resolve().parents[2] / "shared" / "data")) / "videos"
    with tempfile.TemporaryDirectory() as folder:
        kinds = {"sample films": list(sample_clips(Path(folder), options.clips))}
        if footage.is_dir():
            kinds["real footage"] = list(real_clips(footage, options.clips))
        for name, films in kinds.items():
            means = [psnr(DctCodec(channels), films) for channels in _CHANNELS]
            shown = ", ".join(f"{channels} channels {mean:.1f} dB" for channels, mean in zip(_CHANNELS, means, strict=True))
            print(f"{name} ({len(films)} clips): {shown}")


if __name__ == "__main__":
    main()
