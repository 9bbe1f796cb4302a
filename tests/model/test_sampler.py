"""The sampler: an oracle's data is recovered on every schedule, windows continue each other, a seed decides everything."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model.codec import DctCodec
from model.sampler import FilmPlan, sample_film
from model.schedule import flow_sigmas, step_matrix
from model.transformer import SkyReelsTransformer
from tests.model.tiny_run import TRANSFORMER

CODEC = DctCodec(16)
TEXT, EMPTY = torch.randn(5, 8, generator=torch.Generator().manual_seed(1)), torch.zeros(5, 8)
PLAN = FilmPlan(
    num_frames=41, height=16, width=16, base_num_frames=17, overlap_history=5, num_steps=4, shift=2.0, guidance_scale=1.0, ar_step=0,
    block_size=1, addnoise_condition=20, fps=16, seed=5,
)  # fmt: skip


def blocks_of_colour(num_frames: int) -> Tensor:
    """Pixels (1, 3, F, 16, 16), one colour per latent block (frame 0, then fours): what the codec holds without loss."""
    number = (torch.arange(num_frames) + 3) // 4
    colours = torch.stack([0.6 * torch.sin(number * speed + phase) for speed, phase in ((0.9, 0.0), (1.3, 1.0), (0.5, 2.0))])
    return colours[None, :, :, None, None].expand(1, 3, num_frames, 16, 16).contiguous()


class Oracle(nn.Module):
    """Knows the data of every window and answers with the exact velocity towards it. Checks that frames stay on their path."""

    def __init__(self, plan: FilmPlan) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.config = type("Config", (), {"inject_sample_info": False})()
        video = blocks_of_colour(plan.num_frames)
        self.calls: list[tuple[Tensor, Tensor]] = []
        self.windows = plan.windows()
        self.data = [CODEC.encode(video[:, :, window.start : window.start + window.num_frames]) for window in self.windows]
        self.rows = [
            number for number, window in enumerate(self.windows)
            for _ in step_matrix(window.partition(plan.block_size), plan.num_steps, plan.ar_step, window.num_history_latents).index
        ]  # fmt: skip
        self.noise: dict[int, Tensor] = {}

    def forward(self, x: Tensor, timestep: Tensor, text: Tensor, fps: Tensor | None) -> Tensor:
        window = self.rows[len(self.calls)]
        data, history = self.data[window], self.windows[window].num_history_latents
        self.calls.append((x.clone(), timestep.clone()))
        sigma = (timestep / 1000)[0, :, None, None]
        velocity = torch.where(sigma > 0, (x - data) / sigma.clamp(min=1e-6), 0.0)
        noise = self.noise.setdefault(window, (data + velocity).detach())
        free = (sigma[:, 0, 0] > 0).nonzero()[:, 0]
        free = free[free >= history]
        # x = (1 - sigma) data + sigma noise, with the noise that the frame started from: no frame left its path
        torch.testing.assert_close((data + velocity)[:, :, free], noise[:, :, free], atol=1e-3, rtol=1e-3)
        return velocity


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"ar_step": 1}, {"ar_step": 9}, {"addnoise_condition": 0}, {"shift": 8.0, "num_steps": 7},
        {"ar_step": 2, "block_size": 3, "num_frames": 33, "overlap_history": 9, "base_num_frames": 21},
    ],
    ids=["together", "staggered", "one after the other", "clean history", "shifted", "blocks of three"],
)  # fmt: skip
def test_an_oracle_is_recovered_on_every_schedule(changes: dict[str, Any]):
    plan = replace(PLAN, **changes)
    film = sample_film(Oracle(plan), CODEC, TEXT, EMPTY, plan)
    torch.testing.assert_close(film, blocks_of_colour(plan.num_frames), atol=1e-3, rtol=0)


def test_the_model_is_told_the_noise_level_of_every_frame():
    plan = replace(PLAN, ar_step=2)
    oracle = Oracle(plan)
    sample_film(oracle, CODEC, TEXT, EMPTY, plan)
    sigmas = flow_sigmas(plan.num_steps, plan.shift)
    matrix = step_matrix((1,) * 5, plan.num_steps, plan.ar_step, 0)
    told = torch.cat([timestep for _, timestep in oracle.calls[: len(matrix.index)]])
    torch.testing.assert_close(told, 1000 * sigmas[matrix.index])
    second = torch.cat([timestep for _, timestep in oracle.calls[len(matrix.index) :]])
    assert (second[:, :2] == 20).all(), "history is shown at its own level"
    assert len({tuple(row.tolist()) for row in told}) == len(told) == plan.num_steps + 4 * plan.ar_step


def test_a_later_window_starts_from_the_film_as_it_is():
    plan = replace(PLAN, addnoise_condition=0)
    oracle = Oracle(plan)
    film = sample_film(oracle, CODEC, TEXT, EMPTY, plan)
    for number, window in enumerate(plan.windows()[1:], start=1):
        shown = oracle.calls[number * plan.num_steps][0][:, :, :2]
        history = film[:, :, window.start : window.start + window.num_history]
        torch.testing.assert_close(shown, CODEC.encode(history), atol=1e-5, rtol=0)


def test_history_is_shown_noised_by_its_level():
    plan = replace(PLAN, addnoise_condition=200)
    oracle = Oracle(plan)
    sample_film(oracle, CODEC, TEXT, EMPTY, plan)
    shown, data = oracle.calls[plan.num_steps][0][:, :, :2], oracle.data[1][:, :, :2]
    added = shown - 0.8 * data
    assert 0.15 < added.std() < 0.25
    assert not torch.equal(shown, oracle.calls[plan.num_steps + 1][0][:, :, :2]), "fresh noise in every row"


# ---- a real model, random weights ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> SkyReelsTransformer:
    torch.manual_seed(0)
    made = SkyReelsTransformer.from_config({**TRANSFORMER, "in_channels": 16, "out_channels": 16})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))  # zero-initialized outputs would ignore every input
    return made.eval()


def test_a_longer_film_keeps_the_frames_of_a_shorter_one(model: SkyReelsTransformer):
    films = {length: sample_film(model, CODEC, TEXT, EMPTY, replace(PLAN, num_frames=length)) for length in (17, 29, 41)}
    assert [tuple(film.shape) for film in films.values()] == [(1, 3, length, 16, 16) for length in films]
    assert torch.equal(films[41][:, :, :29], films[29])
    assert torch.equal(films[29][:, :, :17], films[17])
    assert len(replace(PLAN, num_frames=41).windows()) == 3
    assert torch.isfinite(films[41]).all()
    assert films[41].abs().max() <= 1


def test_a_film_depends_on_its_seed_and_on_nothing_else(model: SkyReelsTransformer):
    first = sample_film(model, CODEC, TEXT, EMPTY, PLAN)
    torch.manual_seed(99)
    assert torch.equal(sample_film(model, CODEC, TEXT, EMPTY, PLAN), first)
    assert not torch.equal(sample_film(model, CODEC, TEXT, EMPTY, replace(PLAN, seed=6)), first)


def test_schedules_differ_and_count_their_rows(model: SkyReelsTransformer):
    counts = []

    def on_step(done: int, total: int) -> None:
        counts.append((done, total))

    staggered = sample_film(model, CODEC, TEXT, EMPTY, replace(PLAN, ar_step=2), on_step)
    rows = (4 + 4 * 2) + 2 * (4 + 2 * 2)  # five blocks, then twice the three blocks after the history
    assert counts == [(done, rows) for done in range(1, rows + 1)]
    assert not torch.allclose(staggered, sample_film(model, CODEC, TEXT, EMPTY, PLAN), atol=1e-3)


def test_guidance_of_one_needs_one_forward(model: SkyReelsTransformer):
    batches = []
    handle = model.register_forward_pre_hook(lambda module, inputs: batches.append(len(inputs[0])))
    try:
        plain = sample_film(model, CODEC, TEXT, EMPTY, PLAN)
        assert set(batches) == {1}
        batches.clear()
        guided = sample_film(model, CODEC, TEXT, EMPTY, replace(PLAN, guidance_scale=3.0))
        assert set(batches) == {2}
    finally:
        handle.remove()
    assert not torch.allclose(plain, guided, atol=1e-3)
    without_prompt = sample_film(model, CODEC, EMPTY, EMPTY, PLAN)
    both_empty = sample_film(model, CODEC, EMPTY, EMPTY, replace(PLAN, guidance_scale=3.0))
    torch.testing.assert_close(both_empty, without_prompt, atol=1e-3, rtol=0)  # guidance between equals does nothing
