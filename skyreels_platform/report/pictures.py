"""Pictures of shots and of the film as JPEGs, decoded in a bounded child process: footage is not to be trusted.

A picture that cannot be had is the reason why, as text.
"""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyreels_platform.errors import DecodeError, SourceError
from skyreels_platform.footage import local_copy
from skyreels_platform.home import Home
from skyreels_platform.media.bounded import BoundedWorker
from skyreels_platform.media.decode import clip
from skyreels_platform.media.probe import probe

NUM_TILES = 24
"""Pictures on one contact sheet at most."""
NUM_FILM_FRAMES = 10
FILM_BYTES = 5 << 19
"""A larger film is not embedded: as base64 it would fill more than half of the page's 6 MB."""

_TILE = (240, 180)  # pixels, at most
_STRIP_HEIGHT = 176
_JPEG_QUALITY = 80
_MEMORY_BYTES = 2 << 30
_TIMEOUT_S = 60.0  # for all tiles of one source

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """The middle picture of one shot."""

    shot: Row
    """Columns of `shots_under`."""
    jpeg: bytes | None
    problem: str
    """Why there is no picture."""


def shots_under(home: Home, stage: str) -> list[Row]:
    """Every shot with its verdict and reasons under a stage, its place, source and caption."""
    return home.ledger.query(
        """
        SELECT verdicts.shot_id, verdict, reasons, start_frame, end_frame, start_s, end_s, source_id, uri, name, width, height,
               t2v, structured
        FROM verdicts JOIN shots USING (shot_id) LEFT JOIN sources USING (source_id) LEFT JOIN captions USING (shot_id)
        WHERE stage = $stage ORDER BY name, source_id, start_frame, verdicts.shot_id
        """,
        {"stage": stage},
    ).to_pylist()


def choose(shots: Iterable[Row], limit: int = NUM_TILES) -> list[Row]:
    """At most `limit` of the shots, by the hash of their id, so that the same shots give the same sheet; order kept."""
    shots = list(shots)
    keys = sorted((hashlib.sha256(row["shot_id"].encode()).hexdigest(), row["shot_id"]) for row in shots)
    chosen = {key for _, key in keys[:limit]}
    return [row for row in shots if row["shot_id"] in chosen]


def tiles_of(home: Home, shots: list[Row]) -> list[Tile]:
    """One tile per shot, in the order given. Each source is opened once."""
    by_source: dict[str, list[Row]] = {}
    for row in shots:
        by_source.setdefault(row["source_id"], []).append(row)
    found: dict[str, bytes | str] = {}
    with BoundedWorker(memory_bytes=_MEMORY_BYTES, timeout_s=_TIMEOUT_S) as worker:
        for rows in by_source.values():
            pictures = _pictures_of(home, worker, rows)
            found.update(zip([row["shot_id"] for row in rows], pictures, strict=True))
    return [_tile(row, found[row["shot_id"]]) for row in shots]


def _tile(shot: Row, picture: bytes | str) -> Tile:
    if isinstance(picture, str):
        return Tile(shot=shot, jpeg=None, problem=picture)
    return Tile(shot=shot, jpeg=picture, problem="")


def _pictures_of(home: Home, worker: BoundedWorker, rows: list[Row]) -> list[bytes | str]:
    """The shots' middle pictures, all of one source."""
    source = rows[0]
    if source["uri"] is None or not source["width"]:
        return ["its source is not in the ledger any more, or refused by now"] * len(rows)
    middles = [(row["start_frame"] + row["end_frame"] - 1) // 2 for row in rows]
    try:
        with local_copy(source["uri"], open_store=home.open_store, scratch=home.work) as path:
            return worker.call(read_pictures, str(path), middles, _fitted(source["width"], source["height"], _TILE))
    except SourceError as error:
        return [str(error)] * len(rows)


def read_pictures(path: str, indices: list[int], size: tuple[int, int]) -> list[bytes | str]:
    """JPEGs of single frames, or why there is none; runs in the child process."""
    pictures: list[bytes | str] = []
    for index in indices:
        try:
            pictures.append(jpeg(clip(path, start_frame=index, end_frame=index + 1, size=size)[0]))
        except DecodeError as error:
            pictures.append(str(error))
    return pictures


def film_frames(path: Path) -> tuple[list[bytes], str]:
    """JPEGs of evenly spread frames of the film, first and last included; and why there are none."""
    try:
        with BoundedWorker(memory_bytes=_MEMORY_BYTES, timeout_s=_TIMEOUT_S) as worker:
            return worker.call(read_strip, str(path), NUM_FILM_FRAMES), ""
    except SourceError as error:
        return [], str(error)


def read_strip(path: str, count: int) -> list[bytes]:
    """`film_frames` in the child process."""
    facts = probe(path)
    size = _fitted(facts.width, facts.height, (16 * _STRIP_HEIGHT, _STRIP_HEIGHT))
    pictures = clip(path, start_frame=0, end_frame=facts.num_frames, size=size, num_frames=min(count, facts.num_frames))
    return [jpeg(picture) for picture in pictures]


def jpeg(image: np.ndarray) -> bytes:
    """A (H, W, 3) uint8 RGB array as a JPEG; the same array gives the same bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _fitted(width: int, height: int, most: tuple[int, int]) -> tuple[int, int]:
    """(width, height) within `most`, its shape kept, never enlarged."""
    scale = min(1.0, most[0] / width, most[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))
