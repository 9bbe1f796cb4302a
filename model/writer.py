"""Checkpoints written beside the training: the loop waits for a copy in host memory, a thread does the files.

At most one checkpoint is being written. Asking for the next one waits for it; an error of the writing (a full disk) comes up at the next
step. The newest good checkpoint is deleted only after a newer one is whole. The copy costs host memory on rank 0: weights, moving
average, both moments and, with bfloat16, the master weights.
"""

import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from model.checkpoint import find_checkpoints, remove_debris, write_folder
from model.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Which checkpoints of a run stay."""

    last: int = 2
    """The newest ones, at least 1."""
    milestone_every: int = 0
    """Those at multiples of this many steps stay too; 0 = none."""


class CheckpointWriter:
    """The thread of one run's checkpoints; used by rank 0 alone."""

    def __init__(self, run_dir: Path, keep: Keep) -> None:
        self._run_dir, self._keep = run_dir, keep
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def start(self, step: int, fill: Callable[[Path], None], manifest: Mapping[str, Any]) -> None:
        """Write the checkpoint of `step` in the background; `fill` must read nothing that training changes (see `host_copy`)."""
        self.wait()
        # No daemon: should the loop die of something else now, the interpreter still finishes the file.
        self._thread = threading.Thread(target=self._write, args=(step, fill, manifest), name="checkpoint")
        self._thread.start()

    def check(self) -> None:
        """Raise CheckpointError if the last writing failed; does not wait."""
        if self._error:
            raise self._error

    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Wait until nothing is being written, then `check`."""
        if self._thread:
            self._thread.join()
            self._thread = None
        self.check()

    def _write(self, step: int, fill: Callable[[Path], None], manifest: Mapping[str, Any]) -> None:
        target = self._run_dir / "checkpoints" / f"step-{step:08d}"
        try:
            write_folder(target, fill, manifest)
            remove_debris(self._run_dir, self._keep.last, self._keep.milestone_every)
        except Exception as error:  # whatever it is, the loop must hear of it; safetensors has its own kind for a full disk
            good = find_checkpoints(self._run_dir)
            free = shutil.disk_usage(self._run_dir).free
            self._error = CheckpointError(
                f"the checkpoint of step {step} could not be written to {target.parent}: {error} ({free / 2**20:.0f} MiB free there). "
                + (f"The newest good one is {good[-1].path.name}" if good else "There is no earlier one")
                + "; make room, or lower keep_last, and start again"
            )  # fmt: skip
            self._error.__cause__ = error


def host_copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in host memory that later steps do not change."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
