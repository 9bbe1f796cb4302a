"""Learning rate and weight decay of a step: warm-up, then the phases of the recipe."""

import math

from model.spec import TrainSpec


def rates_at(spec: TrainSpec, step: int) -> tuple[float, float]:
    """(learning rate, weight decay) of optimizer step `step`, counted from 0.

    Phases follow one another without a new warm-up. The paper's first stage runs 1e-4 without decay until convergence, then
    5e-5 with 1e-4; at which step it calls the loss converged is unpublished. A cosine belongs to a stage of one phase.
    """
    rate, decay = spec.learning_rate, spec.weight_decay
    for phase in spec.phases:
        rate, decay = phase["learning_rate"], phase["weight_decay"]
        if step < phase["until_step"]:
            break
    if step < spec.warmup_steps:
        return rate * (step + 1) / spec.warmup_steps, decay
    if spec.schedule == "cosine":
        done = (step - spec.warmup_steps) / max(1, spec.num_steps - spec.warmup_steps)
        return rate * 0.5 * (1 + math.cos(math.pi * done)), decay
    return rate, decay
