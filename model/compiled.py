"""Functions that run as written on a CPU and as compiled kernels on a GPU."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

_SHAPES = 64
"""Variants of one function before torch stops compiling and runs it as written: buckets, dtypes, and one or several levels a clip."""


def compiled_on_gpu(function: Callable[P, R]) -> Callable[P, R]:
    """Compile at the first call whose first argument lies on a GPU; elsewhere nothing changes, not a bit of the results.

    For steps between matrix products, whose cost on a GPU is the memory that they read and write.
    """
    compiled: Callable[P, R] | None = None

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal compiled
        first = args[0]
        assert isinstance(first, Tensor)
        if first.device.type != "cuda":
            return function(*args, **kwargs)
        if compiled is None:
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _SHAPES)
            compiled = torch.compile(function)
        return compiled(*args, **kwargs)

    return run
