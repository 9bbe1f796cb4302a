"""Captions out to upstream's CSV and back in: nothing is lost, nothing lands on another shot, bad rows are refused one by one."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resources.home import open_home
from skyreels_platform.captioning.batches import caption_batch
from skyreels_platform.captioning.enhance import enhance
from skyreels_platform.captioning.exchange import export_captions, import_captions
from skyreels_platform.cli import app
from skyreels_platform.curation.kept_frames import encode_picture
from skyreels_platform.errors import CaptionerError, SourceError
from skyreels_platform.home import Home
from skyreels_platform.recipe import CaptionSettings, EndpointSettings
from skyreels_platform.workers import LocalWorkers
from tests.captioning.endpoint import Behaviour, Endpoint, valid

BATCH = "b000001"
RULES = CaptionSettings(backend="rules", field_dropout=0.0)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """one.mp4 is one shot, two.mp4 two; a person gave two.mp4 its lighting."""
    opened = open_home(str(tmp_path / "home"))
    human = {"src_1": "{}", "src_2": json.dumps({"lighting": "Candles."})}
    sources = [
        {"source_id": key, "batch": BATCH, "status": "ready", "uri": f"/films/{name}", "name": name, "human_caption": human[key],
         "provenance": f"p {key}"} for key, name in (("src_1", "one.mp4"), ("src_2", "two.mp4"))
    ]  # fmt: skip
    spans = {"shot_a": ("src_1", 0.0), "shot_b": ("src_2", 0.0), "shot_c": ("src_2", 1.0)}
    shots = [
        {"shot_id": key, "source_id": source, "batch": BATCH, "start_frame": round(24 * start), "end_frame": round(24 * start) + 24,
         "start_s": start, "end_s": start + 1.0, "provenance": f"p {key}"} for key, (source, start) in spans.items()
    ]  # fmt: skip
    picture = encode_picture(np.full((16, 24, 3), 90, np.uint8))
    frames = [{"shot_id": key, "batch": BATCH, "position": 0, "time_s": start, "image": picture, "provenance": "p"}
              for key, (_, start) in spans.items()]  # fmt: skip
    for table, rows in {"sources": sources, "shots": shots, "frames": frames}.items():
        opened.ledger.replace(table, BATCH, rows)
    return opened


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def upstream(path: str, environment: str, **more: Any) -> dict[str, Any]:
    row = {"path": path, "structural_caption": json.dumps(valid(environment)), "t2v_fusion_caption": f"{environment} seen.",
           "i2v_fusion_caption": "-"}  # fmt: skip
    return {**row, "start_s": "", **more}


def captions(home: Home) -> dict[str, dict[str, Any]]:
    caption_batch(home, BATCH, RULES, seed=0, workers=LocalWorkers(num_workers=1))
    return {row["shot_id"]: row for row in home.ledger.rows("captions").to_pylist()}


def test_a_published_captioners_file_becomes_captions(home: Home, tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", [
        upstream("/elsewhere/one.mp4", "A yard."), upstream("/films/two.mp4", "A hall.", start_s="1.02"),
        upstream("/films/two.mp4", "Which?"), upstream("/films/three.mp4", "Nowhere."),
        upstream("one.mp4", "x", structural_caption='{"subjects": [{"TYPES"'), upstream("one.mp4", "x", structural_caption="-"),
    ])  # fmt: skip
    result = import_captions(home, path)
    assert (result.num_rows, result.num_taken) == (6, 2)
    reasons = list(result.refused.values())
    assert "2 shots of this path; add a column shot_id or start_s" in reasons[0]
    assert "no shot of this path" in reasons[1]
    assert "not valid JSON" in reasons[2]
    assert reasons[3] == "no structural_caption"
    found = captions(home)
    assert json.loads(found["shot_a"]["structured"])["environment"] == "A yard."
    assert [found["shot_a"][column] for column in ("t2v", "t2v_train", "i2v")] == ["A yard. seen.", "A yard. seen.", "The cat runs."]
    assert found["shot_b"]["captioner"].startswith("rules"), "nothing was brought for it"
    origin = json.loads(found["shot_c"]["field_provenance"])
    assert (origin["environment"]["source"], origin["environment"]["model"]) == ("mllm", "Skywork/SkyCaptioner-V1")
    assert origin["lighting"]["source"] == "human"
    assert json.loads(found["shot_c"]["structured"])["lighting"] == "Candles."


def test_an_import_changes_the_captions_it_brings_and_no_others(home: Home, tmp_path: Path) -> None:
    before = captions(home)
    import_captions(home, write(tmp_path / "in.csv", [upstream("one.mp4", "A yard.")]))
    after = captions(home)
    assert before["shot_a"] != after["shot_a"]
    assert before["shot_b"] == after["shot_b"]
    assert captions(home) == after


def test_what_goes_out_comes_back_in(home: Home, tmp_path: Path) -> None:
    import_captions(home, write(tmp_path / "in.csv", [upstream("one.mp4", "A yard."), upstream("two.mp4", "A hall.", start_s="0")]))
    before = captions(home)
    out = tmp_path / "out.csv"
    assert export_captions(home, out) == export_captions(home, out, batch=BATCH) == 3
    assert export_captions(home, tmp_path / "none.csv", batch="b000009") == 0
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:4] == ["path", "structural_caption", "t2v_fusion_caption", "i2v_fusion_caption"]
    assert [(row["path"], row["shot_id"]) for row in rows] == [
        ("/films/one.mp4", "shot_a"), ("/films/two.mp4", "shot_b"), ("/films/two.mp4", "shot_c"),
    ]  # fmt: skip
    assert json.loads(rows[1]["field_provenance"])["lighting"]["source"] == "human"
    home.ledger.replace("imported_captions", BATCH, [])
    result = import_captions(home, out)
    assert result.num_taken == 2
    assert "shot_type is ''" in next(iter(result.refused.values())), "a caption of rules is no complete answer"
    again = captions(home)
    for key in ("shot_a", "shot_b"):
        assert again[key]["structured"] == before[key]["structured"]
        assert again[key]["t2v"] == before[key]["t2v"]


def test_a_file_that_is_no_caption_file_is_refused(home: Home, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="needed: path, structural_caption"):
        import_captions(home, write(tmp_path / "in.csv", [{"a": 1}]))
    (tmp_path / "bytes.csv").write_bytes(b"path,structural_caption\n\xff\xfe")
    with pytest.raises(SourceError, match="not a CSV file"):
        import_captions(home, tmp_path / "bytes.csv")


def test_the_commands(home: Home, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    path = write(tmp_path / "in.csv", [upstream("one.mp4", "A yard."), upstream("three.mp4", "Nowhere.")])
    run = lambda *words: CliRunner().invoke(app, ["captions", *words], catch_exceptions=False)  # noqa: E731
    told = json.loads(run("import", str(path), "--home", home.uri, "--json").stdout)
    assert (told["rows"], told["taken"], len(told["refused"])) == (2, 1, 1)
    captions(home)
    out = tmp_path / "out.csv"
    assert json.loads(run("export", "--out", str(out), "--home", home.uri, "--json").stdout) == {"out": str(out), "rows": 3}
    schemas = json.loads(run("schema").stdout)
    assert schemas["caption"]["required"][0] == "subjects"
    assert schemas["field_provenance"]["properties"]["source"]["enum"] == ["mllm", "expert", "human", "rule", "none"]


def test_a_wish_becomes_a_prompt_once(home: Home) -> None:
    settings = EndpointSettings(model="w", timeout_s=5.0, max_attempts=1)
    with Endpoint(lambda key, seen, body: Behaviour(text="Description: A medium shot\nshows a fox.")) as endpoint:
        first = enhance(home, "a fox ", settings, urls=[endpoint.base_url], seed=0)
        assert first == "A medium shot shows a fox."
        assert enhance(home, "a fox", settings, urls=["http://127.0.0.1:9/v1"], seed=0) == first, "kept in the ledger"
        assert len(endpoint.paid) == 1
        assert "Wish: a fox\n" in endpoint.requests["prompt"][0]["messages"][1]["content"]
    with pytest.raises(CaptionerError, match="make the film without --enhance"):
        enhance(home, "a hen", settings, urls=["http://127.0.0.1:9/v1"], seed=0)
    with pytest.raises(ValueError, match="an empty prompt"):
        enhance(home, " ", settings, urls=["http://127.0.0.1:9/v1"], seed=0)


def test_without_a_checkpoint_nobody_is_asked_for_a_prompt(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from skyreels_platform.cli.films import generate_film
    from skyreels_platform.errors import LedgerError

    with Endpoint(lambda key, seen, body: Behaviour(text="A fox.")) as endpoint:
        monkeypatch.setenv("SKYREELS_WRITERS", endpoint.base_url)
        with pytest.raises(LedgerError, match="sft_720p has not been made yet"):
            generate_film("a fox", "sft_720p", None, None, None, home.uri, None, False, is_enhanced=True)
        assert not endpoint.paid
