"""Latents of a snapshot: what is in them, and what is encoded again when captions, clips or the codec change."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.checkpoint import verify_folder
from model.codec import build_codec, to_pixels
from model.latents import EMPTY_TEXT, LatentSet
from skyreels_platform.errors import LedgerError
from skyreels_platform.media.decode import clip
from skyreels_platform.training.encode import LatentsResult
from tests.training.small_data import SmallData, small_recipe

RECIPE = small_recipe()


@pytest.fixture
def data(tmp_path: Path) -> SmallData:
    made = SmallData(tmp_path)
    made.snapshot("snap_1", ["a red circle", "a red circle", "a blue square"])
    return made


def read(data: SmallData, result: LatentsResult) -> LatentSet:
    return LatentSet(data.home.fetch(result.path))


def test_latents_are_the_codecs_and_a_repeat_is_a_no_op(data: SmallData):
    result = data.encode("snap_1", RECIPE)
    assert (result.num_clips, result.num_encoded) == (3, 3)
    assert verify_folder(data.home.fetch(result.path)) == []
    made, codec = read(data, result), build_codec("dct", channels=16)
    assert {line.clip_id for line in made.clips} == {"clip_0", "clip_8", "clip_33"}
    for line in made.clips:
        start = int(line.clip_id.removeprefix("clip_"))
        frames = clip(data.footage, start_frame=start, end_frame=start + 17, crop=(0, 0, 128, 128), size=(32, 32), fps=16, num_frames=17)
        torch.testing.assert_close(made.latents(line), codec.encode(to_pixels(frames))[0])
        assert (line.shape, line.fps) == ((16, 5, 4, 4), 16)
    text = {line.clip_id: made.text(line.text) for line in made.clips}
    assert torch.equal(text["clip_0"], text["clip_8"])
    assert not torch.equal(text["clip_0"], text["clip_33"])
    assert (made.text(EMPTY_TEXT) == 0).all()
    version = data.home.ledger.version("latents")
    again = data.encode("snap_1", RECIPE)
    assert (again.latents_id, again.num_encoded) == (result.latents_id, 0)
    assert data.home.ledger.version("latents") == version
    assert not list((data.home.work / "latents").iterdir()), "scratch is removed"


def test_new_captions_copy_the_latents_and_make_new_text(data: SmallData):
    first = data.encode("snap_1", RECIPE)
    data.footage.unlink()  # whoever decodes again fails
    data.snapshot("snap_2", ["a green circle", "a red circle", "a blue square"])
    second = data.encode("snap_2", RECIPE)
    assert (second.num_clips, second.num_encoded) == (3, 0)
    assert second.latents_id != first.latents_id
    old, new = read(data, first), read(data, second)
    for before, after in zip(old.clips, new.clips, strict=True):
        assert torch.equal(old.latents(before), new.latents(after))
    texts = [{line.clip_id: found.text(line.text) for line in found.clips} for found in (old, new)]
    assert not torch.equal(texts[0]["clip_0"], texts[1]["clip_0"])
    assert torch.equal(texts[0]["clip_8"], texts[1]["clip_8"])
    rows = data.home.ledger.rows("latents", columns=["latents_id", "clip_id", "provenance"]).to_pylist()
    assert len(rows) == 6
    assert len({row["provenance"] for row in rows}) == 3, "latents are keyed by clip and codec, not by caption"


def test_only_a_new_clip_is_encoded(data: SmallData):
    data.encode("snap_1", RECIPE)
    data.snapshot("snap_3", ["a red circle"] * 4)
    assert data.encode("snap_3", RECIPE).num_encoded == 1


def test_another_codec_encodes_everything_again(data: SmallData):
    first = data.encode("snap_1", RECIPE)
    other = RECIPE.model_copy(update={"codec": RECIPE.codec.model_copy(update={"channels": 12})})
    second = data.encode("snap_1", other)
    assert (second.num_encoded, second.latents_id != first.latents_id) == (3, True)
    assert read(data, second).clips[0].shape[0] == 12


def test_an_image_is_a_clip_of_one_latent(data: SmallData, tmp_path: Path):
    still = tmp_path / "still.png"
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[30:90, 40:120] = (200, 40, 40)
    Image.fromarray(picture).save(still)
    rows = data.home.ledger.rows("snapshot_clips", {"snapshot_id": "snap_1"}).to_pylist()
    data.home.ledger.replace("snapshot_clips", "snap_joint", [
        *({**row, "snapshot_id": "snap_joint"} for row in rows),
        {"snapshot_id": "snap_joint", "clip_id": "clip_still", "shot_id": "shot_still", "source_id": "src_2", "uri": str(still),
         "start_frame": 0, "end_frame": 1, "crop": [20, 0, 120, 120], "fps_num": 0, "fps_den": 1, "train_fps": 24, "num_frames": 1,
         "width": 32, "height": 32, "caption": "a red square", "provenance": "p"},
    ])  # fmt: skip
    made = read(data, data.encode("snap_joint", RECIPE))
    (line,) = [line for line in made.clips if line.clip_id == "clip_still"]
    assert (line.shape, line.fps) == ((16, 1, 4, 4), 24)
    seen = clip(still, start_frame=0, end_frame=1, crop=(20, 0, 120, 120), size=(32, 32))
    torch.testing.assert_close(made.latents(line), build_codec("dct", channels=16).encode(to_pixels(seen))[0])
    assert len(set(made.bucket_keys())) == 2


def test_clips_that_two_data_sets_share_are_encoded_once(data: SmallData):
    """As 360p and 540p of a recipe with one size for both: the second holds a part of the first."""
    first = data.encode("snap_1", RECIPE)
    data.snapshot("snap_4", ["a red circle", "a red circle"])
    data.footage.unlink()  # whoever decodes again fails
    second = data.encode("snap_4", RECIPE)
    assert (second.num_clips, second.num_encoded) == (2, 0)
    for line in read(data, second).clips:
        (before,) = [other for other in read(data, first).clips if other.clip_id == line.clip_id]
        assert torch.equal(read(data, first).latents(before), read(data, second).latents(line))


def test_an_unknown_snapshot_is_named(data: SmallData):
    with pytest.raises(LedgerError, match="no snapshot 'snap_x'"):
        data.encode("snap_x", RECIPE)
