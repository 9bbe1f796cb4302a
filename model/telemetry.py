"""How fast a run goes, and its curves for TensorBoard: what may differ between two runs with the same losses.

    speed.jsonl     one line per step: seconds, clips/s, tokens/s, TFLOP/s of one rank, MFU where the device's peak is known
    tensorboard/    the same with loss, gradient norm and rates (`tensorboard --logdir RUN`)

`losses.jsonl` is the record of what was computed and the same to the bit after a kill; this one is not.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch

from model.configs import TransformerConfig
from model.flops import device_peak, training_flops
from model.journal import read_lines

SPEED = "speed.jsonl"
BOARD = "tensorboard"


class Telemetry:
    """Rank 0's measurements from `step` on; lines of later steps, which a killed run left, are dropped."""

    def __init__(
        self, run_dir: Path, step: int, config: TransformerConfig, *, ranks: int, text_tokens: int, device: torch.device
    ) -> None:
        self._config, self._ranks, self._text_tokens = config, ranks, text_tokens
        self._peak = device_peak(device)
        kept = [line for line in read_lines(run_dir / SPEED) if line["step"] < step]
        (run_dir / SPEED).write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._file = (run_dir / SPEED).open("a", encoding="utf-8")
        self._board = _summary_writer(run_dir / BOARD, step)
        self._last = time.monotonic()

    def skip(self) -> None:
        """What passed since the last step was no training: a checkpoint, a film."""
        self._last = time.monotonic()

    def write(self, step: int, clips: int, shape: tuple[int, ...], **curves: float) -> dict[str, float]:
        """One step over `clips` clips of latents `shape`, with the curves of the journal; what was measured."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        _, rows, columns = self._config.patch_size
        tokens = shape[1] * (shape[2] // rows) * (shape[3] // columns)
        flops = clips * training_flops(self._config, shape, self._text_tokens) / self._ranks / seconds
        speed = {
            "seconds": seconds,
            "clips_per_s": clips / seconds,
            "tokens_per_s": clips * tokens / seconds,
            "tflops": flops / 1e12,
        }
        if self._peak:
            speed["mfu"] = flops / self._peak
        self._file.write(json.dumps({"step": step, **{name: round(value, 6) for name, value in speed.items()}}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in {**curves, **speed}.items():
                self._board.add_scalar(name, value, step)
        return speed

    def close(self) -> None:
        """Flush the curves."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _summary_writer(folder: Path, step: int) -> Any:
    """A TensorBoard writer, or None where the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print(
            "tensorboard is not installed: no TensorBoard curves; losses.jsonl and speed.jsonl hold the same numbers", flush=True
        )
        return None
    return SummaryWriter(log_dir=str(folder), purge_step=step or None, flush_secs=30)
