"""Films while training: made at their steps, the same again after a resume, and without any trace in the training."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from model.latents import LatentSet
from model.validation import ValidationFilms
from skyreels_platform.training.validation_films import encode_validation_films
from tests.model.tiny_run import free_port, make_latents, make_spec, outcome, train

SETTINGS = {
    "every_steps": 5, "prompts": ["a red square", "a blue circle"], "seed": 7, "num_steps": 2, "shift": 1.0, "guidance_scale": 2.0,
    "codec": {"backend": "dct", "channels": 4, "weights": None}, "text": {"backend": "hash", "dim": 8, "length": 5, "weights": None},
}  # fmt: skip


def test_films_change_nothing_and_come_at_their_steps(tmp_path: Path) -> None:
    latents = make_latents(tmp_path / "latents")
    for name, validation in (("without", None), ("with", SETTINGS)):
        make_spec(tmp_path / name, latents, validation=validation, zero_stage=2)
        train(tmp_path / name, 1, free_port())
    assert outcome(tmp_path / "with") == outcome(tmp_path / "without")
    films = encode_validation_films(tmp_path / "with")
    assert [(film.step, film.prompt) for film in films] == [(step, prompt) for step in (5, 10) for prompt in SETTINGS["prompts"]]
    assert all(film.video.stat().st_size and film.sheet.stat().st_size for film in films)
    frames = load_file(films[0].video.with_suffix(".safetensors"))["frames"]
    assert frames.dtype == torch.uint8
    assert frames.shape[0] == 9
    assert encode_validation_films(tmp_path / "without") == []


def test_a_film_is_of_the_longest_clips_shape_and_leaves_the_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    films = ValidationFilms(SETTINGS, LatentSet(make_latents(tmp_path / "latents")), torch.device("cpu"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert films.is_due(5)
    assert not films.is_due(6)
