"""Recipes: the three that come with the platform, and every kind of file that is refused with file, key, value and remedy."""

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from skyreels_platform.curation.balance import FIGURE_5
from skyreels_platform.curation.pools import check_bounds
from skyreels_platform.curation.snapshot import buckets_of
from skyreels_platform.errors import RecipeError
from skyreels_platform.recipe import RECIPES, Recipe, load_recipe

NAMES = ("laptop", "skyreels_v2_1.3b", "skyreels_v2_14b")
LABELS = ("paper", "code", "our choice")
LAPTOP = (RECIPES / "laptop.toml").read_text(encoding="utf-8")


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """A copy of the laptop recipe in which the line that starts with `old` reads `new`; `[table] key` looks in that table."""
    table, _, key = old.rpartition("] ")
    start = LAPTOP.index(f"{table}]") if table else 0
    pattern = re.compile(rf"^{re.escape(key)}.*$", re.MULTILINE)
    found = pattern.search(LAPTOP, start)
    assert found, f"laptop.toml has no {old!r}"
    path = tmp_path / "mine.toml"
    path.write_text(LAPTOP[: found.start()] + new + LAPTOP[found.end() :], encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    return str(caught.value)


# (line to change, new line, what the message says after the file's name; ... stands for numbers that tuning may move)
BAD_VALUES = {
    "unknown key, near a known one": (
        "[film] num_steps", "num_step = 20", "film.num_step = 20: unknown key; did you mean 'num_steps'?"),
    "unknown key, near none": (
        "[launch] num_ranks", "num_ranks = 2\nzzz = 1", "launch.zzz = 1: unknown key; known keys here: accelerator, dtype"),
    "unknown key of a stage": (
        "[stages.pretrain_256p] learning_rate", "learning_rate = 1e-3\nlerning_rate = 1e-3",
        "stages.pretrain_256p.lerning_rate = 0.001: unknown key; did you mean 'learning_rate'?"),
    "unknown key of a bound": (
        "[pools.256p.bounds] luma", "luma = { mim = 0.05 }",
        "pools.256p.bounds.luma.mim = 0.05: unknown key; did you mean 'min'?"),
    "unknown table": ("[balance]", "[balanse]", "balanse: unknown key; did you mean 'balance'?"),
    "unknown pool": (
        "[pools.540p.bounds]", "[pools.480p.bounds]", "pools.480p: must be '256p', '360p', '540p' or 'sft_540p'"),
    "missing key": ("[film] shift", "", "film.shift is missing; add it (recipes/laptop.toml shows every key)"),
    "number in quotes": (
        "[stages.diffusion_forcing] num_steps", 'num_steps = "300"',
        "stages.diffusion_forcing.num_steps = '300': must be a whole number; write it without quotes or decimal point"),
    "text for a number": (
        "[film] shift", 'shift = "eight"', "film.shift = 'eight': must be a number; write it without quotes"),
    "fraction for a count": (
        "[film] num_steps", "num_steps = 2.5",
        "film.num_steps = 2.5: must be a whole number; write it without quotes or decimal point"),
    "truth value for a count": (
        "[film] num_steps", "num_steps = true",
        "film.num_steps = True: must be a whole number; write it without quotes or decimal point"),
    "number for a truth value": (
        "[shots] transnet", "transnet = 1", "shots.transnet = 1: must be true or false; write it without quotes"),
    "number for a text": ("[film] prompt", "prompt = 3", "film.prompt = 3: must be text; put it in quotes"),
    "value for a table": (
        "[pools.256p.bounds] luma", "luma = 0.05",
        "pools.256p.bounds.luma = 0.05: must be a table; write [name] or { key = value }"),
    "list that is too short": ("[model] patch_size", "patch_size = [1, 1]", "model.patch_size.2 is missing; add it"),
    "number for a list": ("[model] patch_size", "patch_size = 1", "model.patch_size = 1: must be a list; write [1, 2, 2]"),
    "not a number": (
        "[stages.pretrain_256p] learning_rate", "learning_rate = nan",
        "stages.pretrain_256p.learning_rate = nan: must be an ordinary number; write one"),
    "infinite": ("[film] shift", "shift = inf", "film.shift = inf: must be an ordinary number; write one"),
    "zero steps": ("[film] num_steps", "num_steps = 0", "film.num_steps = 0: must be greater than or equal to 1"),
    "negative rate": (
        "[stages.pretrain_256p] learning_rate", "learning_rate = -1e-3",
        "stages.pretrain_256p.learning_rate = -0.001: must be greater than 0"),
    "share above one": (
        "[captions] field_dropout", "field_dropout = 1.5", "captions.field_dropout = 1.5: must be less than or equal to 1"),
    "guidance below one": (
        "[film] guidance_scale", "guidance_scale = 0.5", "film.guidance_scale = 0.5: must be greater than or equal to 1"),
    "no such backend": ("[codec] backend", 'backend = "vae"', "codec.backend = 'vae': must be 'dct' or 'wan'"),
    "no such rate": ("[film] fps", "fps = 25", "film.fps = 25: must be 16 or 24"),
    "no such ZeRO stage": ("[launch] zero_stage", "zero_stage = 4", "launch.zero_stage = 4: must be 0, 1, 2 or 3"),
    "frames that the codec cannot take": (
        "[datasets.256p] durations", "durations = [{ num_frames = 17 }, { num_frames = 16 }]",
        "datasets.256p.durations.1.num_frames = 16: the codec needs 4k + 1 frames; write 13 or 17"),
    "an image among the durations": (
        "[datasets.256p] durations", "durations = [{ num_frames = 1 }]",
        "datasets.256p.durations.0.num_frames = 1: must be greater than or equal to 5"),
    "a duration twice": (
        "[datasets.256p] durations", "durations = [{ num_frames = 17 }, { num_frames = 17, keep = 0.5 }]",
        "datasets.256p: durations of [17, 17] frames; each may come once"),
    "unknown key of a duration": (
        "[datasets.256p] durations", "durations = [{ num_frames = 17, kept = 0.5 }]",
        "datasets.256p.durations.0.kept = 0.5: unknown key; did you mean 'keep'?"),
    "no such training rate": (
        "[datasets.sft_540p] train_fps", "train_fps = [25]", "datasets.sft_540p.train_fps.0 = 25: must be 16 or 24"),
    "nothing but images": (
        "[datasets.256p] image_share", "image_share = 1.0", "datasets.256p.image_share = 1.0: must be less than 1"),
    "film frames that the codec cannot take": (
        "[film] num_frames", "num_frames = 64", "film.num_frames = 64: the codec needs 4k + 1 frames; write 61 or 65"),
    "mixture that is not one": (
        "[stages.pretrain_256p] p_fopp", "p_fopp = 0.77",
        "stages.pretrain_256p: p_fopp + p_sync + p_prefix is 1.77; it must be 1"),
    "warmup longer than the stage": (
        "[stages.pretrain_256p] warmup_steps", "warmup_steps = 999999",
        "stages.pretrain_256p: warmup_steps 999999 lies above num_steps ...; lower it"),
    "empty bound": ("[pools.256p.bounds] luma", "luma = {}", "pools.256p.bounds.luma: give min, max or both"),
    "bound upside down": (
        "[pools.256p.bounds] luma", "luma = { min = 0.9, max = 0.1 }",
        "pools.256p.bounds.luma: min 0.9 lies above max 0.1; swap them"),
    "shares above one": (
        "[balance.shares] Human", "Human = 0.9", "balance: the shares add up to 1...; they must not exceed 1; lower one"),
    "shot lengths upside down": (
        "[shots] min_length_s", "min_length_s = 999.0", "shots: min_length_s 999 lies above max_length_s ...; swap them"),
    "odd head": (
        "[model] attention_head_dim", "attention_head_dim = 63",
        "model: attention_head_dim is 63; rotary positions need an even number"),
    "window without anything new": (
        "[film] overlap_history", "overlap_history = 401",
        "film: overlap_history 401 leaves nothing new in a window of base_num_frames ...; make it smaller"),
    "blocks that do not fit the window": (
        "[film] causal_block_size", "causal_block_size = 99",
        "film: causal_block_size 99 does not divide the ... latents of base_num_frames ...; choose a divisor"),
    "text width against the model's": (
        "[text] dim", "dim = 33", "model.text_dim is ... but text.dim is 33; make them equal"),
    "channels against the model's": (
        "[codec] channels", "channels = 8", "model.out_channels is 16 but codec.channels is 8; make them equal"),
    "batch that does not divide": (
        "[stages.pretrain_256p] batch_size", "batch_size = 31",
        "stages.pretrain_256p.batch_size is 31; write a multiple of launch.num_ranks / launch.sequence_parallel * micro_batches, 2"),
    "micro-batches that do not divide": (
        "[stages.pretrain_256p] batch_size", "batch_size = 32\nmicro_batches = 3",
        "stages.pretrain_256p.batch_size is 32; write a multiple of launch.num_ranks / launch.sequence_parallel * micro_batches, 6"),
    "phases that end early": (
        "[stages.pretrain_256p] schedule", "phases = [{ until_step = 7, learning_rate = 1e-4 }]",
        "stages.pretrain_256p: phases end at steps [7]; let them rise and the last end at num_steps, ..."),
    "more ranks on a clip than heads": (
        "[launch] num_ranks", "num_ranks = 4\nsequence_parallel = 4",
        "launch.sequence_parallel is 4; write a divisor of model.num_attention_heads, 2"),
    "offload of what is not sharded": (
        "[launch] zero_stage", 'zero_stage = 2\noffload = "all"', "launch: offload = 'all' needs zero_stage 3 or more; it is 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_VALUES)
def test_bad_value_is_refused_with_file_key_value_and_remedy(case: str, tmp_path: Path) -> None:
    old, new, expected = BAD_VALUES[case]
    path = changed(tmp_path, old, new)
    assert re.search(re.escape(f"{path}: {expected}").replace(r"\.\.\.", ".*"), refusal(path))


def test_every_fault_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    path = changed(tmp_path, "[film] num_steps", "num_steps = 0\nnum_stepz = 1")
    faults = refusal(path).splitlines()
    assert [fault.split(": ")[1] for fault in faults] == ["film.num_steps = 0", "film.num_stepz = 1"]


def test_broken_toml_is_refused_with_its_place(tmp_path: Path) -> None:
    path = changed(tmp_path, "[film] num_steps", "num_steps = = 3")
    line = path.read_text(encoding="utf-8").splitlines().index("num_steps = = 3") + 1
    assert re.search(rf"{re.escape(str(path))}: not valid TOML: .*line {line}", refusal(path))


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert f"{path}: not valid TOML" in refusal(path)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'lapptop': .*laptop, skyreels_v2_1.3b, skyreels_v2_14b"):
        load_recipe("lapptop")


def test_recipe_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    path = changed(tmp_path, "seed", "seed = 7")
    assert load_recipe(path).seed == load_recipe(str(path)).seed == 7
    assert load_recipe("laptop") == load_recipe(RECIPES / "laptop.toml")


def test_hash_ignores_order_and_comments_and_sees_every_number(tmp_path: Path) -> None:
    tables = re.split(r"^(?=\[)", re.sub(r" *#.*$", "", LAPTOP, flags=re.MULTILINE), flags=re.MULTILINE)
    path = tmp_path / "reordered.toml"
    path.write_text("\n".join([tables[0], *reversed(tables[1:])]), encoding="utf-8")
    assert load_recipe(path).hash() == load_recipe("laptop").hash()
    assert re.fullmatch(r"[0-9a-f]{16}", load_recipe(path).hash())
    assert load_recipe(changed(tmp_path, "[film] shift", "shift = 3.001")).hash() != load_recipe("laptop").hash()


@pytest.mark.parametrize("name", NAMES)
def test_recipe_survives_json_which_is_how_it_travels_to_other_processes(name: str) -> None:
    recipe = load_recipe(name)
    assert Recipe.model_validate(recipe.model_dump(mode="json")).hash() == recipe.hash()
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize("name", NAMES)
def test_recipe_loads_under_its_file_name_with_signals_that_exist(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert list(recipe.pools) == ["256p", "360p", "540p", "sft_540p"]
    for pool in recipe.pools.values():
        check_bounds(pool.bounds)


@pytest.mark.parametrize("name", NAMES)
def test_pools_grow_stricter_from_stage_to_stage(name: str) -> None:
    pools = load_recipe(name).pools
    for (_, looser), (stage, stricter) in itertools.pairwise(pools.items()):
        for signal, bound in looser.bounds.items():
            if stage == "sft_540p" and signal not in stricter.bounds:
                continue  # it judges what the 540p pool has passed
            other = stricter.bounds[signal]
            assert (other.min or 0) >= (bound.min or 0), signal
            assert bound.max is None or (other.max is not None and other.max <= bound.max), signal


def test_there_is_no_recipe_that_these_tests_do_not_know() -> None:
    assert sorted(path.stem for path in RECIPES.glob("*.toml")) == sorted(NAMES)


def numbers(value: Any) -> list[float]:
    """Every number in a TOML value; true and false are none."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


@pytest.mark.parametrize("name", NAMES)
def test_every_number_says_where_it_comes_from(name: str) -> None:
    labelled = []
    for line in (RECIPES / f"{name}.toml").read_text(encoding="utf-8").splitlines():
        if not re.match(r"[\w.-]+ *= ", line):
            assert not line or line[0] in "#[", f"one setting per line, so that each can say its source: {line!r}"
            continue
        if found := numbers(tomllib.loads(line)):
            _, _, comment = line.partition("# ")
            assert re.match(rf"({'|'.join(LABELS)})\b", comment), f"no label: {line!r}"
            labelled += found
    whole = numbers(tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8")))
    assert len(labelled) == len(whole) > 90


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_written_out_unless_it_is_optional(name: str) -> None:
    """A default that a file does not show is a number without a label."""
    values = tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8"))
    recipe = load_recipe(name)
    optional = {
        "weights", "hostfile", "image_dim", "added_kv_proj_dim", "captioner", "writer", "shot_expert", "camera_expert", "expression",
        "offload",
        "sequence_parallel", "memory_gb",
    }  # fmt: skip
    saving = {"keep_last", "milestone_every"}  # decide nothing about the result
    off = {
        "micro_batches", "phases", "lora", "init_from", "validation", "activation_checkpointing", "activation_offload", "fopp_block",
        "loss_weighting",
    }  # fmt: skip
    sections = {"shots", "captions", "balance", "codec", "text", "model", "launch", "film"}
    for section in sections:
        assert set(getattr(recipe, section).model_dump()) - set(values[section]) <= optional, section
    for stage in recipe.stages:
        assert set(recipe.stages[stage].model_dump()) - set(values["stages"][stage]) <= off | saving, stage
    for name_ in recipe.datasets:
        assert set(recipe.datasets[name_].model_dump()) == set(values["datasets"][name_]), name_


def test_laptop_needs_no_download_and_makes_at_least_three_windows() -> None:
    recipe = load_recipe("laptop")
    assert (recipe.captions.backend, recipe.codec.backend, recipe.text.backend) == ("rules", "dct", "hash")
    assert (recipe.launch.num_ranks, recipe.launch.zero_stage, recipe.launch.accelerator) == (2, 1, "cpu")
    film = recipe.film
    assert film.num_frames - film.base_num_frames >= 2 * (film.base_num_frames - film.overlap_history)
    assert {duration.num_frames for data in recipe.datasets.values() for duration in data.durations} == {film.base_num_frames}, (
        "a window is as long as what the model was trained on"
    )


@pytest.mark.parametrize("name", NAMES)
def test_data_sets_follow_the_paper(name: str) -> None:
    """Images and videos together in the first two stages, then video alone; 24 frames per second from the first SFT on."""
    data = load_recipe(name).datasets
    assert list(data) == ["256p", "360p", "540p", "sft_540p", "sft_720p"]
    assert [dataset.image_share > 0 for dataset in data.values()] == [True, True, False, False, False]
    assert [dataset.train_fps for dataset in data.values()] == [(16, 24)] * 3 + [(24,)] * 2
    sides = [dataset.resolution for dataset in data.values()]
    assert sides == sorted(sides)
    assert sides[0] < sides[-1]
    assert name == "laptop" or sides[0] < sides[1] < sides[2] < sides[-1], "the laptop has no time to learn every size"


@pytest.mark.parametrize("name", NAMES[1:])
def test_published_numbers_stand_in_the_large_recipes(name: str) -> None:
    recipe = load_recipe(name)
    rates = {stage: settings.learning_rate for stage, settings in recipe.stages.items()}
    assert (rates["pretrain_256p"], rates["pretrain_360p"], rates["pretrain_540p"]) == (1e-4, 2e-5, 2e-5)
    phases = [(phase.learning_rate, phase.weight_decay) for phase in recipe.stages["pretrain_256p"].phases]
    assert phases == [(1e-4, 0.0), (5e-5, 1e-4)]
    assert recipe.stages["pretrain_256p"].weight_decay == 0
    assert {key: max(duration.num_frames for duration in data.durations) for key, data in recipe.datasets.items()} == {
        "256p": 97, "360p": 97, "540p": 97, "sft_540p": 97, "sft_720p": 121,
    }
    assert recipe.film.base_num_frames == 121
    published = {"256p": (256, 448), "360p": (352, 640), "540p": (544, 960), "sft_540p": (544, 960), "sft_720p": (720, 1280)}
    for key, data in recipe.datasets.items():
        bucket = buckets_of(data, multiple=16).assign(1920, 1080, 500, 24)
        assert (bucket.height, bucket.width) == published[key]
    film = recipe.film
    assert (film.overlap_history, film.shift, film.guidance_scale, film.addnoise_condition) == (17, 8, 6, 20)
    assert (recipe.text.dim, recipe.text.length) == (4096, 512)
    assert (recipe.captions.num_frames, recipe.captions.field_dropout) == (16, 0.1)
    assert recipe.balance.shares == FIGURE_5
    for stage in ("256p", "360p", "540p"):
        pool = recipe.pools[stage]  # type: ignore[index]
        assert (pool.bounds["resolution"].min, pool.bounds["fps"].min) == (720, 16)


@pytest.mark.parametrize(
    ("name", "embeds_fps", "low", "high"),
    [
        ("laptop", True, 5e5, 3e6), ("skyreels_v2_1.3b", True, 1.4354e9, 1.4356e9), ("skyreels_v2_1.3b", False, 1.4189e9, 1.4191e9),
        ("skyreels_v2_14b", False, 14.2884e9, 14.2886e9),
    ],
)
def test_model_has_the_published_number_of_parameters(name: str, embeds_fps: bool, low: float, high: float) -> None:
    """The 1.3B DF checkpoint carries the FPS embedding; the 14B ones were published after it was removed."""
    import torch

    from model.transformer import SkyReelsTransformer

    with torch.device("meta"):
        network = SkyReelsTransformer.from_config({**load_recipe(name).model.model_dump(), "inject_sample_info": embeds_fps})
    assert low <= sum(parameter.numel() for parameter in network.parameters()) <= high
