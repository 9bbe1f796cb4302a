"""Latents and text features of a snapshot, keyed by everything that decides them.

A clip's latents depend on the clip and the codec, not on its caption: where a snapshot differs from an earlier one in captions alone,
the earlier latents are copied and only the text features are made again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

from skyreels_platform.errors import LedgerError
from skyreels_platform.footage import local_copy
from skyreels_platform.home import Home
from skyreels_platform.ledger.current import set_current
from skyreels_platform.ledger.ids import make_id
from skyreels_platform.ledger.provenance import hash_json, provenance
from skyreels_platform.progress import track
from skyreels_platform.recipe import CodecSettings, Recipe, TextSettings
from skyreels_platform.workers import MEMORY_BYTES, TIMEOUT_S

ENCODE_VERSION = "encode-1"
"""Raise it when the same clip would give other latents."""

_SHARD_CLIPS = 512

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class LatentsResult:
    """One folder of latents in the store."""

    latents_id: str
    path: str
    """Key of the folder in the store."""
    num_clips: int
    num_encoded: int
    """Clips that went through the codec; the others were copied or there already."""


def encode_dataset(home: Home, stage: str, snapshot_id: str, recipe: Recipe) -> LatentsResult:
    """Encode a snapshot with the recipe's backends and make it `latents_<stage>`."""
    result = encode_snapshot(home, snapshot_id, recipe.codec, recipe.text, device=recipe.launch.accelerator)
    set_current(home.ledger, f"latents_{stage}", result.latents_id)
    return result


def encode_snapshot(
    home: Home, snapshot_id: str, codec_settings: CodecSettings, text_settings: TextSettings, *, device: str = "cpu"
) -> LatentsResult:
    """Encode every clip and caption of a snapshot into `latents/<latents id>/` in the store; a repeat is a no-op."""
    from model.codec import build_codec
    from model.text import build_text_encoder

    clips = home.ledger.rows("snapshot_clips", {"snapshot_id": snapshot_id}).to_pylist()
    clips.sort(key=lambda clip: (clip["source_id"], clip["shot_id"], clip["start_frame"], clip["clip_id"]))
    if not clips:
        raise LedgerError(f"no snapshot {snapshot_id!r} with clips in the ledger")
    codec = build_codec(**codec_settings.model_dump(), device=device)
    encoder = build_text_encoder(**text_settings.model_dump(), device=device)
    key = make_id("lat", snapshot_id, codec.fingerprint, encoder.fingerprint, ENCODE_VERSION)
    path = f"latents/{key}"
    if home.store.exists(f"{path}/manifest.json"):
        return LatentsResult(latents_id=key, path=path, num_clips=len(clips), num_encoded=0)
    own = {clip["clip_id"]: provenance(ENCODE_VERSION, codec.fingerprint, [clip["clip_id"]]) for clip in clips}
    earlier = _earlier(home, own)
    folder = home.work / "latents" / key
    _write(home, folder, clips, codec, encoder, earlier, snapshot_id)
    home.store.upload(folder, path)
    _record(home, key, snapshot_id, folder, own)
    _discard(folder)
    return LatentsResult(latents_id=key, path=path, num_clips=len(clips), num_encoded=len(clips) - len(earlier))


def _write(
    home: Home, folder: Path, clips: list[Row], codec: Any, encoder: Any, earlier: dict[str, str], snapshot_id: str
) -> None:
    from model.checkpoint import write_folder
    from model.latents import EMPTY_TEXT, LatentClip, LatentSet, write_latents

    captions = {hash_json(clip["caption"]): clip["caption"] for clip in clips}
    features = encoder.encode([*captions.values(), ""])
    text = dict(zip([*captions, EMPTY_TEXT], features, strict=True))
    sets = {latents_id: LatentSet(home.fetch(f"latents/{latents_id}")) for latents_id in set(earlier.values())}
    known = {clip_id: (sets[latents_id], clip) for clip_id, latents_id in earlier.items()
             for clip in sets[latents_id].clips if clip.clip_id == clip_id}  # fmt: skip

    def encoded() -> Iterator[tuple[LatentClip, Any]]:
        fresh = _encode(home, [clip for clip in clips if clip["clip_id"] not in known], codec)
        for clip in track(clips, "latents"):
            copied = known.get(clip["clip_id"])
            latents = copied[0].latents(copied[1]) if copied else next(fresh)
            line = LatentClip(clip_id=clip["clip_id"], shot_id=clip["shot_id"], shard="", shape=(), fps=clip["train_fps"],
                              text=hash_json(clip["caption"]))  # fmt: skip
            yield line, latents

    write_folder(
        folder, lambda target: _ignore(write_latents(target, encoded(), text, _SHARD_CLIPS)),
        {"snapshot_id": snapshot_id, "codec": codec.fingerprint, "text": encoder.fingerprint, "code_version": ENCODE_VERSION},
    )  # fmt: skip


def _encode(home: Home, clips: list[Row], codec: Any) -> Iterator[Any]:
    """Latents (C, F, H, W) of clips, in their order (by shot); pictures are decoded in a bounded child process."""
    from model.codec import to_pixels
    from skyreels_platform.media.bounded import BoundedWorker

    with BoundedWorker(memory_bytes=MEMORY_BYTES, timeout_s=TIMEOUT_S) as worker:
        for _, group in groupby(clips, key=lambda clip: clip["shot_id"]):
            of_shot = list(group)
            with local_copy(of_shot[0]["uri"], open_store=home.open_store, scratch=home.work) as path:
                films = worker.call(decode_clips, str(path), of_shot)
            for frames in films:
                yield codec.encode(to_pixels(frames))[0].cpu()


def decode_clips(path: str, clips: list[Row]) -> list[Any]:
    """Pictures (F, H, W, 3) of the clips of one shot; runs in the child process.

    Clips of a shot overlap: their common span is decoded once where that is less work than clip by clip.
    """
    from skyreels_platform.media.decode import clip as decode
    from skyreels_platform.media.decode import sample
    from skyreels_platform.media.stills import is_still
    from skyreels_platform.media.timeline import read_timeline

    first, last = min(clip["start_frame"] for clip in clips), max(clip["end_frame"] for clip in clips)
    views = {(tuple(clip["crop"]), clip["width"], clip["height"]) for clip in clips}
    if len(views) > 1 or last - first > sum(clip["end_frame"] - clip["start_frame"] for clip in clips):
        return [film for clip in clips for film in decode_clips(path, [clip])]
    crop, width, height = views.pop()
    pictures = decode(path, start_frame=first, end_frame=last, crop=crop, size=(width, height))
    timeline = None if is_still(Path(path)) else read_timeline(Path(path))
    return [
        pictures[[index - first for index in sample(
            timeline, clip["start_frame"], clip["end_frame"], Fraction(clip["train_fps"]), clip["num_frames"]
        )]]
        for clip in clips
    ]  # fmt: skip


def _earlier(home: Home, own: dict[str, str]) -> dict[str, str]:
    """clip id -> a latents id that holds the same latents already."""
    found = home.ledger.rows("latents", columns=["latents_id", "clip_id", "provenance"]).to_pylist()
    return {row["clip_id"]: row["latents_id"] for row in found if own.get(row["clip_id"]) == row["provenance"]}


def _record(home: Home, key: str, snapshot_id: str, folder: Path, own: dict[str, str]) -> None:
    from model.latents import LatentSet

    home.ledger.replace("latents", key, [
        {"latents_id": key, "snapshot_id": snapshot_id, "clip_id": clip.clip_id, "shot_id": clip.shot_id, "shard": clip.shard,
         "provenance": own[clip.clip_id]}
        for clip in LatentSet(folder).clips
    ])  # fmt: skip


def _discard(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _ignore(_: object) -> None:
    """write_folder's callback returns nothing."""
