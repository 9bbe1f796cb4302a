"""A loss or gradient that is not finite changes neither weight nor moment nor step count (DeepSpeed's own engines: test_healing)."""

from typing import Any

import pytest
import torch
from torch import nn

from model.finite import FiniteSteps


class Engine:
    """What FiniteSteps uses of an engine without ZeRO."""

    def __init__(self) -> None:
        self.module = nn.Linear(3, 2)
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=0.1, weight_decay=0.1)

    def zero_optimization(self) -> bool:
        return False

    def step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def state(self) -> dict[str, Any]:
        moments = {f"{n}.{key}": value.clone() for n, p in enumerate(self.module.parameters())
                   for key, value in self.optimizer.state[p].items()}  # fmt: skip
        return {**{name: p.detach().clone() for name, p in self.module.named_parameters()}, **moments}

    def backward(self, scale: float) -> float:
        loss = self.module(torch.ones(1, 3)).sum() * scale
        loss.backward()
        return float(loss.detach())


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("fault", ["loss", "gradient", "one element"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_refused_step_changes_nothing_and_the_next_one_counts(fault: str, value: float):
    engine = Engine()
    steps = FiniteSteps(engine)
    norm = steps.step(engine.backward(1.0))
    assert norm == pytest.approx((2 * 4) ** 0.5), "before clipping"
    before = engine.state()
    loss = engine.backward(value if fault == "gradient" else 1.0)
    if fault == "one element":
        assert engine.module.weight.grad is not None
        engine.module.weight.grad[0, 0] = value
    assert steps.step({"loss": value, "gradient": 0.0}.get(fault, loss)) is None
    assert same(engine.state(), before)
    assert steps.step(engine.backward(1.0)) == pytest.approx((2 * 4) ** 0.5)
    assert not same(engine.state(), before)


def test_finite_steps_are_those_of_the_optimizer_alone():
    torch.manual_seed(0)
    guarded, plain = Engine(), Engine()
    plain.module.load_state_dict(guarded.module.state_dict())
    steps = FiniteSteps(guarded)
    for scale in (1.0, -2.0, 0.5):
        steps.step(guarded.backward(scale))
        plain.backward(scale)
        plain.step()
    assert same(guarded.state(), plain.state())
