"""The smallest whole recipe and its footage, and the command line on it: footage to film in about a minute of two processes' time.

`whole_home` runs `skyreels demo` once per test session; `data_home` is a copy of what it made up to the latents or to some stage.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from resources.home import open_home
from skyreels_platform.home import Home
from skyreels_platform.ledger.current import get_current, set_current
from skyreels_platform.media.sample_edit import FilmSpec
from skyreels_platform.media.sample_film import render_film
from skyreels_platform.media.sample_scene import Background, SceneSpec, Subject
from skyreels_platform.recipe import RECIPES

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
STAGES = ("pretrain_256p", "pretrain_360p", "pretrain_540p", "sft_540p", "diffusion_forcing", "sft_720p")
DATASETS = ("256p", "360p", "540p", "sft_540p", "sft_720p")
NUM_STEPS = 12
BRIEF = 3
"""Steps of the stages in between, which no test kills."""
KILLED = ("pretrain_256p", "diffusion_forcing")


def num_steps(stage: str) -> int:
    """Optimizer steps of a stage in the micro recipe."""
    return NUM_STEPS if stage in KILLED else BRIEF


_CHANGES: dict[str, dict[str, Any]] = {
    "shots": {"transnet": False},
    "model": {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 8, "ffn_dim": 32, "freq_dim": 16},
    "launch": {"hang_floor_s": 20.0, "restart_wait_s": 0.2},
    "film": {"num_frames": 29, "base_num_frames": 17, "overlap_history": 5, "num_steps": 2, "upscale": 2, "dataset": ""},
}
_STAGE = {"batch_size": 4, "checkpoint_every": 4, "warmup_steps": 2}


def micro_values() -> dict[str, Any]:
    """The laptop recipe with every size at its smallest, as plain values."""
    values = tomllib.loads((RECIPES / "laptop.toml").read_text(encoding="utf-8"))
    values["name"] = "micro"
    for section, changes in _CHANGES.items():
        values[section] |= changes
    for dataset in DATASETS:
        values["datasets"][dataset] |= {"max_clips_per_shot": 2}
    for stage in STAGES:
        values["stages"][stage] |= {**_STAGE, "num_steps": num_steps(stage)}
    return values


def write_recipe(path: Path, values: dict[str, Any]) -> Path:
    """Plain values as a TOML file."""
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in values.items()), encoding="utf-8")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)  # numbers, texts and flags are spelt alike


def render_footage(folder: Path) -> list[Path]:
    """Two films of three shots, one coloured shape crossing each shot; the second has the rate that fine-tuning asks for."""
    folder.mkdir(parents=True)
    casts = {
        "one": (("red", "circle"), ("blue", "square"), ("green", "circle")),
        "two": (("yellow", "square"), ("red", "circle"), ("blue", "circle")),
    }
    rates = {"one": 16, "two": 24}
    return [_render(folder / f"{name}.mp4", pairs, rates[name]) for name, pairs in casts.items()]


def _render(path: Path, pairs: tuple[tuple[str, str], ...], fps: int) -> Path:
    scenes = tuple(
        SceneSpec(
            num_frames=33, look=number, background=Background(level=(0.4, 0.62, 0.46)[number]),
            subject=Subject(colour=colour, shape=shape, size=0.4, position=(0.25, 0.5), velocity=(0.22, 0.0)),
        )
        for number, (colour, shape) in enumerate(pairs)
    )  # fmt: skip
    render_film(path, FilmSpec(name=path.stem, width=128, height=128, fps=fps, scenes=scenes), seed=0)
    return path


def skyreels(*arguments: object, expect: int = 0, timeout_s: float = 280) -> subprocess.CompletedProcess[str]:
    """Run the installed command; its output is the assertion's message."""
    command = [str(BIN / "skyreels"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT)
    assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done


class Micro:
    """Footage, recipe and home of one run of the demo."""

    def __init__(self, folder: Path) -> None:
        self.sources = render_footage(folder / "footage")
        self.footage = folder / "footage"
        self.recipe = write_recipe(folder / "micro.toml", micro_values())
        self.root = folder / "home"
        self.options = ("--home", self.root, "--recipe", self.recipe)
        started = time.monotonic()
        self.demo_output = skyreels("demo", "--source", self.footage, *self.options, timeout_s=1500).stdout
        self.demo_seconds = time.monotonic() - started

    @property
    def home(self) -> Home:
        return open_home(str(self.root))

    def data_home(self, root: Path, stages: tuple[str, ...] = ()) -> Home:
        """A copy of the home as it was before the first training stage, or after the last of these first ones."""
        shutil.copytree(self.root, root)
        for table in ("checkpoints", "seen", "films", "current"):
            shutil.rmtree(root / f"ledger/{table}.lance")
        undone = [stage for stage in STAGES if stage not in stages]
        for made in ("store/films", "work/films", *(f"store/checkpoints/{stage}" for stage in undone)):
            shutil.rmtree(root / made)
        for run in (run for stage in undone for run in root.glob(f"work/runs/{stage}-*")):
            shutil.rmtree(run)
        home = open_home(str(root))
        for stage in stages:
            row = self.home.ledger.rows("checkpoints", {"stage": stage})
            home.ledger.merge("checkpoints", row)
            home.ledger.merge("seen", self.home.ledger.rows("seen", {"checkpoint_id": row["checkpoint_id"][0].as_py()}))
        for name in (*(f"{kind}_{dataset}" for dataset in DATASETS for kind in ("dataset", "latents")), *stages):
            set_current(home.ledger, name, get_current(self.home.ledger, name))
        return home


def result_of(home: Home) -> dict[str, Any]:
    """What two runs must have in common: the hashes of every checkpoint's weights and seen clips, and the film."""
    checkpoints = home.ledger.rows("checkpoints").to_pylist()
    film = home.ledger.rows("films").to_pylist()
    return {
        "checkpoints": {row["stage"]: (row["checkpoint_id"], row["weights_hash"], row["seen_hash"]) for row in checkpoints},
        "num_checkpoints": len(checkpoints),
        "films": {row["film_id"]: home.fetch(row["path"]).read_bytes() for row in film},
        "seen": home.ledger.rows("seen").to_pylist(),
    }


_MADE: dict[Path, Micro] = {}


def whole_home(base: Path) -> Micro:
    """The one uninterrupted run of this test session, below the session's base folder."""
    if base not in _MADE:
        _MADE[base] = Micro(base / "micro")
    return _MADE[base]


def processes_of(root: Path) -> dict[int, str]:
    """Live processes, this one left out, whose command line or environment names a folder."""
    found = {}
    needle = os.fsencode(root)
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue  # ended meanwhile, or somebody else's
        if state not in "ZX" and (needle in command or needle in environment):
            found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found
