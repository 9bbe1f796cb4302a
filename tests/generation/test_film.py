"""A film from a published checkpoint: made once, found again, refused where the model is of the wrong kind."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.checkpoint import write_folder
from model.transformer import SkyReelsTransformer
from resources.home import open_home
from skyreels_platform.errors import GateError, LedgerError, TrainingError
from skyreels_platform.generation.film import FilmRequest, make_film, plan_film
from skyreels_platform.ledger.current import set_current
from skyreels_platform.media.probe import probe
from skyreels_platform.recipe import Recipe
from tests.generation.dying import POINTS
from tests.micro import ROOT, micro_values

RECIPE = Recipe.model_validate(micro_values())
CAPTIONS = ["a dog runs.", "a dog runs.", "a red circle moves left.", "a red circle moves left.", "a blue square."]


class Published:
    """A home with a snapshot, a full-sequence and a diffusion-forcing checkpoint of random weights."""

    def __init__(self, root: Path) -> None:
        self.home = open_home(str(root))
        self.home.ledger.replace("snapshot_clips", "snap_1", [
            {"snapshot_id": "snap_1", "clip_id": f"clip_{number}", "shot_id": "shot_1", "caption": caption, "width": 32, "height": 32,
             "provenance": "p"}
            for number, caption in enumerate([*CAPTIONS, "a dog runs."])
        ])  # fmt: skip
        for stage, kind in (("pretrain_256p", "full_sequence"), ("diffusion_forcing", "diffusion_forcing")):
            self.publish(stage, kind)

    def publish(self, stage: str, kind: str) -> None:
        torch.manual_seed(0)
        model = SkyReelsTransformer.from_config(RECIPE.model.model_dump(mode="json"))
        torch.nn.init.normal_(model.proj_out.weight, std=0.1)  # untrained it is zero, and the film would be its first noise
        key = f"ckpt_{kind}"
        folder = self.home.work / key
        write_folder(folder, lambda target: model.save_pretrained(target / "transformer"), {"model_kind": kind})
        self.home.store.upload(folder, f"checkpoints/{stage}/{key}")
        self.home.ledger.merge("checkpoints", [
            {"checkpoint_id": key, "stage": stage, "snapshot_id": "snap_1", "model_kind": kind, "path": f"checkpoints/{stage}/{key}",
             "provenance": "p"}
        ])  # fmt: skip
        set_current(self.home.ledger, stage, key)

    def plan(self, **changes: Any) -> FilmRequest:
        request = plan_film(self.home, RECIPE, stage="diffusion_forcing")
        return replace(request, settings=request.settings.model_copy(update=changes))

    def starts(self) -> int:
        """How often the generation process was started and wrote its log."""
        return sum(path.stat().st_mtime_ns for path in self.home.work.glob("films/*/generate.log"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def film(published: Published) -> dict[str, Any]:
    return make_film(published.home, RECIPE, published.plan())


def test_a_film_has_the_size_of_the_data_set_that_the_recipe_names(published: Published):
    published.home.ledger.replace("snapshot_clips", "snap_2", [
        {"snapshot_id": "snap_2", "clip_id": f"clip_{number}", "shot_id": "shot_1", "caption": "a red circle moves left.", "width": side,
         "height": side, "num_frames": frames, "provenance": "p"}
        for number, (side, frames) in enumerate([(48, 17), (48, 17), (64, 17), (80, 1), (80, 1), (80, 1)])
    ])  # fmt: skip
    set_current(published.home.ledger, "dataset_sft_540p", "snap_2")
    named = RECIPE.model_copy(update={"film": RECIPE.film.model_copy(update={"dataset": "sft_540p"})})
    request = plan_film(published.home, named, stage="diffusion_forcing")
    assert (request.width, request.height) == (48, 48), "the commonest clip that is no image"
    own = plan_film(published.home, RECIPE, stage="diffusion_forcing")
    assert (own.width, own.height) == (32, 32)


def test_the_prompt_is_the_commonest_caption_that_pixels_can_confirm(published: Published):
    request = published.plan()
    assert (request.prompt, request.width, request.height) == ("a red circle moves left.", 32, 32)
    assert plan_film(published.home, RECIPE, stage="diffusion_forcing", prompt="mine").prompt == "mine"
    named = RECIPE.model_copy(update={"film": RECIPE.film.model_copy(update={"prompt": "the recipe's"})})
    assert plan_film(published.home, named, stage="diffusion_forcing").prompt == "the recipe's"


def test_a_film_is_a_file_a_row_and_a_manifest(published: Published, film: dict[str, Any]):
    facts = probe(published.home.fetch(film["path"]))
    assert (facts.num_frames, facts.width, facts.height, facts.fps_num) == (29, 64, 64, 24)
    assert (film["num_windows"], film["checkpoint_id"], film["prompt"]) == (2, "ckpt_diffusion_forcing", "a red circle moves left.")
    manifest = json.loads(published.home.store.read_bytes(f"films/{film['film_id']}.json"))
    assert manifest == json.loads(film["manifest"])
    assert manifest["check"]["wanted"] == "red circle"
    assert json.loads(film["schedule"])["seed"] == RECIPE.film.seed


def test_the_same_request_is_answered_from_the_store(published: Published, film: dict[str, Any]):
    starts, version = published.starts(), published.home.ledger.version("films")
    assert starts > 0
    assert make_film(published.home, RECIPE, published.plan()) == film
    assert (published.starts(), published.home.ledger.version("films")) == (starts, version)


def test_a_film_whose_publication_was_killed_is_published_without_generating_again(published: Published, film: dict[str, Any]):
    path = published.home.fetch(film["path"])
    content, starts = path.read_bytes(), published.starts()
    path.unlink()
    assert make_film(published.home, RECIPE, published.plan()) == film
    assert path.read_bytes() == content
    assert published.starts() == starts


@pytest.mark.parametrize(
    "point", [point if point in ("between windows", "result") else pytest.param(point, marks=pytest.mark.slow) for point in POINTS]
)
def test_a_film_killed_anywhere_becomes_the_same_film(point: str, published: Published, film: dict[str, Any], tmp_path: Path):
    home = Published(tmp_path / "home").home
    command = [sys.executable, "-m", "tests.generation.dying", home.uri, point]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    assert make_film(home, RECIPE, plan_film(home, RECIPE, stage="diffusion_forcing")) == film
    for name in (f"{film['film_id']}.mp4", f"{film['film_id']}.json"):
        assert home.store.read_bytes(f"films/{name}") == published.home.store.read_bytes(f"films/{name}"), name


def test_another_seed_is_another_film_and_both_are_kept(published: Published, film: dict[str, Any]):
    other = make_film(published.home, RECIPE, published.plan(seed=5, num_frames=17))
    assert other["film_id"] != film["film_id"]
    assert (other["num_windows"], other["num_frames"]) == (1, 17)
    films = {row["film_id"] for row in published.home.ledger.rows("films").to_pylist()}
    assert films == {film["film_id"], other["film_id"]}


def test_a_full_sequence_checkpoint_is_refused_before_anything_starts(published: Published):
    starts = published.starts()
    with pytest.raises(GateError, match="is a full_sequence model; films need a diffusion_forcing one"):
        plan_film(published.home, RECIPE, stage="pretrain_256p")
    with pytest.raises(TrainingError, match="is a full_sequence model"):  # and by the process itself, should a request be made by hand
        make_film(published.home, RECIPE, replace(published.plan(), checkpoint_id="ckpt_full_sequence"))
    assert published.starts() > starts


def test_a_checkpoint_that_is_not_there_is_named(published: Published):
    with pytest.raises(LedgerError, match="no checkpoint 'ckpt_x'"):
        make_film(published.home, RECIPE, replace(published.plan(), checkpoint_id="ckpt_x"))
