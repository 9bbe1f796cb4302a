"""What a run starts from: random weights, a parent, a checkpoint; under ZeRO 3 without a copy in memory."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.build import build_model
from model.spec import TrainSpec
from model.transformer import SkyReelsTransformer
from tests.model.tiny_run import TRANSFORMER, make_spec


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def spec(tmp_path: Path) -> TrainSpec:
    return make_spec(tmp_path / "run", tmp_path)


def weights(model: SkyReelsTransformer) -> dict[str, torch.Tensor]:
    return dict(model.state_dict())


def same(a: SkyReelsTransformer, b: SkyReelsTransformer) -> bool:
    theirs = weights(b)
    return set(weights(a)) == set(theirs) and all(torch.equal(value, theirs[name]) for name, value in weights(a).items())


@pytest.mark.usefixtures("one_rank")
def test_random_weights_are_those_of_the_seed_whatever_the_zero_stage(spec: TrainSpec) -> None:
    plain, mapped = build_model(spec, None), build_model(replace(spec, zero_stage=3), None)
    assert same(plain, mapped)
    assert not same(plain, build_model(replace(spec, seed=4), None))
    assert sorted(path.name for path in Path(spec.run_dir).iterdir()) == ["spec.json"], "the file they went through is gone"


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_a_parent_that_lies_in_16_bit_trains_in_32(zero_stage: int, spec: TrainSpec, tmp_path: Path) -> None:
    parent = SkyReelsTransformer.from_config(TRANSFORMER).bfloat16()
    parent.save_pretrained(tmp_path / "parent")
    model = build_model(replace(spec, parent_dir=str(tmp_path / "parent"), zero_stage=zero_stage), None)
    assert {value.dtype for value in weights(model).values()} == {torch.float32 if zero_stage < 3 else torch.bfloat16}
    assert same(model.float(), parent.float())  # under ZeRO 3 the engine converts what it takes


def test_under_zero_3_a_checkpoint_is_mapped_not_read(spec: TrainSpec, tmp_path: Path) -> None:
    """90 MB of weights; what the process holds for itself grows by a tenth of that at most."""
    large = {**TRANSFORMER, "num_attention_heads": 64, "ffn_dim": 8192, "num_layers": 2}
    SkyReelsTransformer.from_config(large).save_pretrained(tmp_path / "step-4" / "transformer")
    size = sum(file.stat().st_size for file in (tmp_path / "step-4").rglob("*.safetensors"))
    assert size > 80e6
    script = f"""
import sys
from pathlib import Path
from dataclasses import replace
from model.build import build_model
from model.checkpoint import Checkpoint
from model.spec import TrainSpec

def own():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

spec = replace(TrainSpec.load({spec.run_dir + "/spec.json"!r}), zero_stage=int(sys.argv[1]))
resume = Checkpoint(path=Path({str(tmp_path / "step-4")!r}), step=4, spec_hash="")
build_model(replace(spec, zero_stage=3), resume)  # modules that torch loads late
before = own()
model = build_model(spec, resume)
print(own() - before)
"""
    grown = [
        int(subprocess.run([sys.executable, "-c", script, str(stage)], capture_output=True, text=True, check=True).stdout)
        for stage in (3, 1)
    ]
    assert grown[0] < 0.1 * size < 0.9 * size < grown[1]
