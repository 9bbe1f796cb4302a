"""What rank 0 writes down about each step: the journals that are the same after a kill, the speed that is not, and a line to read."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from model.configs import TransformerConfig
from model.journal import LOSSES, SEEN, Journal
from model.latents import EMPTY_TEXT, LatentClip, LatentSet
from model.rates import rates_at
from model.spec import TrainSpec
from model.telemetry import Telemetry

_LINE_EVERY_S = 5.0


class Record:
    """The journals of one run, from `step` on."""

    def __init__(self, run_dir: Path, step: int, spec: TrainSpec, config: TransformerConfig, data: LatentSet) -> None:
        self.spec = spec
        self._losses, self._seen = (Journal(run_dir / name, step) for name in (LOSSES, SEEN))
        device = torch.device("cpu" if spec.accelerator == "cpu" else "cuda")
        text_tokens = data.text(EMPTY_TEXT).shape[0]
        ranks = torch.distributed.get_world_size()
        self._telemetry = Telemetry(run_dir, step, config, ranks=ranks, text_tokens=text_tokens, device=device)
        self._shown = 0.0

    def write(self, step: int, loss: float, grad_norm: float, clips: Sequence[LatentClip]) -> str | None:
        """Log optimizer step `step`; a line for people now and then."""
        rate, decay = rates_at(self.spec, step)
        self._losses.write(step=step, loss=loss, grad_norm=grad_norm, lr=rate)
        self._seen.write(step=step, clips=[clip.clip_id for clip in clips])
        speed = self._telemetry.write(
            step, len(clips), clips[0].shape, loss=loss, grad_norm=grad_norm, lr=rate, weight_decay=decay
        )
        if time.monotonic() - self._shown < _LINE_EVERY_S:
            return None
        self._shown = time.monotonic()
        mfu = f", MFU {speed['mfu']:.1%}" if "mfu" in speed else ""
        return (
            f"{self.spec.stage}: step {step + 1}/{self.spec.num_steps} loss {loss:.4f}, {speed['clips_per_s']:.2f} clips/s{mfu}"
        )

    def pause_over(self) -> None:
        """What came after the last `write` (a checkpoint, films) is not training time."""
        self._telemetry.skip()

    def sync(self) -> None:
        """Flush the journals to disk; a checkpoint needs the lines of its steps."""
        self._losses.sync()
        self._seen.sync()

    def close(self) -> None:
        """Close the files."""
        self._losses.close()
        self._seen.close()
        self._telemetry.close()
