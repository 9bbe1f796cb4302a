"""Pictures of a batch: made from stored rows, true to them, the same each time, and small enough for the UI."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from assets.metadata import pictures_metadata, thumbnail
from resources.home import open_home
from skyreels_platform.curation.balance import FIGURE_5, BalanceItem, balance
from skyreels_platform.curation.pictures import COLUMNS, balance_pictures, batch_pictures, contact_sheet_of, tile_lines
from skyreels_platform.home import Home
from skyreels_platform.ledger.tables import TABLES
from skyreels_platform.recipe import Bound, PoolSettings

BATCH = "b000001"
COLOURS = {"a": (220, 30, 30), "b": (30, 200, 30), "c": (30, 30, 220), "d": (220, 220, 30)}
POOLS = {
    "256p": PoolSettings(bounds={"luma": Bound(min=0.2), "sharpness": Bound(min=1.0, unknown="review")}),
    "360p": PoolSettings(bounds={"luma": Bound(min=0.4)}), "sft_540p": PoolSettings(bounds={"luma": Bound(min=0.9)}),
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(str(tmp_path / "home"))


def put(home: Home, table: str, rows: list[dict[str, Any]], partition: str = BATCH) -> None:
    column = TABLES[table].partition
    assert column
    home.ledger.replace(table, partition, [{"provenance": "p", column: partition, **row} for row in rows])


def fill(home: Home) -> None:
    """Shots a (dark), b, c (blurred beyond measure) and d, each of one colour; three files, one of them refused."""
    put(home, "files", [{"uri": f"/x/{name}.mp4", "status": status} for name, status in (("1", "ready"), ("2", "ready"), ("3", "refused"))])
    put(home, "sources", [{"source_id": f"src_{number}", "status": "ready"} for number in (1, 2)])
    put(home, "failures", [{"source_id": "src_2", "batch": BATCH, "step": "shots", "reason": "damaged"}], f"{BATCH}/shots")
    put(home, "shots", [{"shot_id": shot, "source_id": "src_1", "start_s": 0.0, "end_s": 1.0} for shot in COLOURS])
    lumas = {"a": 0.1, "b": 0.5, "c": 0.6, "d": 0.3}
    put(home, "scores", [
        *({"shot_id": shot, "signal": "luma", "value": value, "unit": "0 to 1", "outcome": "measured"} for shot, value in lumas.items()),
        *({"shot_id": shot, "signal": "sharpness", "value": None if shot == "c" else 2.0, "unit": "share",
           "outcome": "unknown" if shot == "c" else "measured", "reason": "no edge" if shot == "c" else ""} for shot in COLOURS),
    ])  # fmt: skip
    put(home, "frames", [
        {"shot_id": shot, "position": position, "frame": position, "time_s": 0.1 * position,
         "image": jpeg(colour if position == 1 else (0, 0, 0))}
        for shot, colour in COLOURS.items() if shot != "d" for position in range(3)
    ])  # fmt: skip


def jpeg(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (160, 90), colour).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def has_colour(image: np.ndarray, colour: tuple[int, int, int], least: int = 5000) -> bool:
    return int((np.abs(image - np.array(colour)).max(axis=-1) < 16).sum()) >= least


def test_a_batch_has_a_funnel_its_signals_and_its_shots(home: Home):
    fill(home)
    funnel, signals, shots = batch_pictures(home, BATCH, POOLS)
    assert [picture.name for picture in (funnel, signals, shots)] == ["funnel", "signals", "shots"]
    assert funnel.caption == "b000001: 3 files, 2 sources ready, 4 shots, 2 pass 256p, 2 pass 360p."
    assert shots.caption == "b000001: 2 kept by pool 256p, 2 rejected by pool 256p or held for review."
    for picture in (funnel, signals, shots):
        assert picture.key.startswith("reports/b000001/")
        assert home.store.read_bytes(picture.key) == picture.data
        assert pixels(picture.data).std() > 5, "something is drawn"


def test_the_same_rows_give_the_same_pictures(home: Home):
    fill(home)
    assert batch_pictures(home, BATCH, POOLS) == batch_pictures(home, BATCH, POOLS)


def test_the_contact_sheet_shows_the_middle_kept_picture_above_for_kept_and_below_for_rejected_shots(home: Home):
    fill(home)
    sheet = pixels(batch_pictures(home, BATCH, POOLS)[2].data)
    rows = {shot: np.flatnonzero((np.abs(sheet - np.array(COLOURS[shot])).max(axis=-1) < 16).any(axis=1)) for shot in "abc"}
    assert all(len(found) > 100 for found in rows.values())
    assert rows["b"].max() < rows["a"].min(), "b is kept; a is rejected, c held for review"
    assert rows["b"].max() < rows["c"].min()
    assert not has_colour(sheet, COLOURS["d"]), "no picture of d is kept"
    assert has_colour(sheet, (96, 96, 96)), "its tile is grey"


def test_a_committed_bound_moves_a_shot_on_the_sheet(home: Home):
    fill(home)
    strict = {"256p": PoolSettings(bounds={"luma": Bound(min=0.9)})}
    assert "0 kept by pool 256p" in batch_pictures(home, BATCH, strict)[2].caption
    assert "4 kept by pool 256p" in batch_pictures(home, BATCH, {"256p": PoolSettings(bounds={})})[2].caption


def test_a_batch_without_shots_has_a_funnel_alone(home: Home):
    put(home, "files", [{"uri": "/x/1.mp4", "status": "refused"}])
    (funnel,) = batch_pictures(home, BATCH, POOLS)
    assert funnel.caption == "b000001: 1 files, 0 sources ready, 0 shots, 0 pass 256p, 0 pass 360p."


def test_an_empty_group_says_so_and_a_long_one_breaks_into_rows(home: Home):
    fill(home)
    one, many = (contact_sheet_of(home, {"gained": [("a", ["a"])] * count, "lost": []}) for count in (1, 2 * COLUMNS))
    assert pixels(many).shape[0] > pixels(one).shape[0] + 135
    assert pixels(many).shape[1] > 3 * 240


def test_reasons_break_into_lines_that_keep_every_word():
    reason = "sharpness unknown -> review: no edge of the picture is sharp enough to be measured"
    lines = tile_lines("shot_0f", [reason])
    assert lines[0] == "shot_0f"
    assert len(lines) > 2
    assert " ".join(line.strip() for line in lines[1:]) == reason


def test_the_balance_plot_marks_targets(home: Home):
    counts = {"Human": 848, "Scenery": 88, "Animal": 41, "Architecture": 9, "Plant": 14}
    items = [BalanceItem(key=f"{name}{number}", concept=name, quality=0.0) for name, count in counts.items() for number in range(count)]
    result = balance(items, FIGURE_5, min_keep=0.5)
    (picture,) = balance_pictures(home, result)
    assert picture.caption.startswith("Concept balance: 500 of 1,000 shots kept; ")
    assert "Architecture is" in picture.caption
    image = pixels(picture.data)
    assert has_colour(image, (0x2A, 0x6C, 0xB0))
    assert has_colour(image, (0xC2, 0x57, 0x1A), least=50), "target marks"
    assert balance_pictures(home, result)[0].data == picture.data


def test_metadata_carries_a_small_copy_and_the_place(home: Home):
    fill(home)
    found = pictures_metadata(home, batch_pictures(home, BATCH, POOLS))
    assert list(found) == ["picture_funnel", "picture_signals", "picture_shots"]
    text = str(found["picture_shots"].value)
    embedded = re.search(r"\(data:image/jpeg;base64,([^)]*)\)", text)
    assert embedded
    assert has_colour(pixels(base64.b64decode(embedded[1])), COLOURS["a"], least=1000)
    assert f"{home.store.uri}/reports/b000001/shots.jpg" in text


def test_a_thumbnail_is_bounded_whatever_the_picture():
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    small = thumbnail(buffer.getvalue())
    assert len(small) <= 60_000
    assert pixels(small).shape[1] >= 320
