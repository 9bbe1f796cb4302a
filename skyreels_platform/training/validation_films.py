"""The films that a run made while training, as files that a browser plays: mp4 and contact sheet beside each film's frames."""

import json
from dataclasses import dataclass
from pathlib import Path

_INDEX = "films.json"
_FOLDER = "validation"
_TILES = 6


@dataclass(frozen=True, kw_only=True)
class ValidationFilm:
    """One prompt at one step."""

    step: int
    prompt: str
    video: Path
    sheet: Path


def encode_validation_films(run_dir: Path) -> list[ValidationFilm]:
    """Encode what is not encoded yet; all films of a run, by step and prompt. A step that is still being sampled is left for later."""
    return [film for index in sorted((run_dir / _FOLDER).glob(f"step-*/{_INDEX}")) for film in _films(index)]


def _films(index: Path) -> list[ValidationFilm]:
    values = json.loads(index.read_text(encoding="utf-8"))
    found = []
    for number, prompt in enumerate(values["prompts"]):
        frames = index.parent / f"film-{number}.safetensors"
        film = ValidationFilm(step=values["step"], prompt=prompt, video=frames.with_suffix(".mp4"), sheet=frames.with_suffix(".png"))
        if not film.sheet.is_file():
            _encode(frames, film, values["fps"])
        found.append(film)
    return found


def _encode(frames: Path, film: ValidationFilm, fps: int) -> None:
    """The sheet goes last: it says that the film is whole."""
    from safetensors.numpy import load_file

    from skyreels_platform.media.contact_sheet import contact_sheet, png_bytes
    from skyreels_platform.media.encode import write_video

    pictures = load_file(frames)["frames"]
    write_video(film.video, pictures, fps, metadata={"comment": f"step {film.step}: {film.prompt}"})
    chosen = [round(place * (len(pictures) - 1) / (_TILES - 1)) for place in range(_TILES)]
    tiles = [(pictures[at], [f"{at / fps:.2f} s"]) for at in dict.fromkeys(chosen)]
    temporary = film.sheet.with_name(f".{film.sheet.name}")
    temporary.write_bytes(png_bytes(contact_sheet(tiles, columns=len(tiles))))
    temporary.rename(film.sheet)
