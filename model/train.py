"""The training loop of every stage: one process per rank, started by DeepSpeed's launcher, by torchrun or by hand.

    deepspeed --num_accelerators 2 --module model.train --spec RUN/spec.json
    python -m model.train --spec RUN/spec.json                  # one rank

Everything random in a step derives from (seed, step, place in the batch), never from a generator's history. So a run killed
anywhere continues from its newest checkpoint and ends with the same losses and weights, bit for bit on CPU with the same number of
ranks. SIGINT or SIGTERM stops it at the next step with a checkpoint.

A step whose loss or gradient is not finite is not taken: it is computed again, then with other clips, then the run ends with an error.
"""

import argparse
import hashlib
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.buckets import BucketSampler, rank_slice
from model.checkpoint import Checkpoint, find_checkpoints, remove_debris, set_bad_aside, write_json
from model.engine import build_engine, gather_optimizer, init_distributed, load_optimizer
from model.errors import NonFiniteError
from model.finite import FiniteSteps
from model.forcing import Sigmas, sample_sigmas
from model.growth import grow
from model.guard import StopRequest, die_with_parent, watch_supervisor
from model.heartbeat import CHECKPOINT, STEP, Heartbeat
from model.journal import LOSSES, SEEN, Journal, record_incident
from model.latents import LatentSet
from model.objectives import add_noise, flow_matching_loss
from model.reporter import Reporter, reporter
from model.spec import TrainSpec
from model.transformer import SkyReelsTransformer, TransformerConfig
from model.writer import CheckpointWriter, Keep, host_copy

RESULT = "result.json"
_DRAWS = (0, 0, 1, 2)
"""Which clips and noise a step is tried with: its own, its own again (a passing fault leaves the run as it would have been), others."""
_LOG_EVERY_S = 5.0
_ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # by hand


class Trainer:
    """One rank of one run."""

    def __init__(self, spec: TrainSpec, beat: Heartbeat) -> None:
        self.spec, self.beat = spec, beat
        self.rank = torch.distributed.get_rank()
        self.world = torch.distributed.get_world_size()
        if spec.batch_size % self.world:
            raise ValueError(f"batch_size {spec.batch_size} does not divide among {self.world} ranks; set a multiple")
        self.run_dir = Path(spec.run_dir)
        self.device = torch.device("cpu" if spec.accelerator == "cpu" else f"cuda:{os.environ.get('LOCAL_RANK', 0)}")
        self.data = LatentSet(spec.latents_dir)
        self.sampler = BucketSampler(self.data.bucket_keys(), spec.batch_size, spec.seed)
        self.writer = CheckpointWriter(self.run_dir, Keep(last=spec.keep_last, milestone_every=spec.milestone_every))
        if self.rank == 0:
            for name, files in set_bad_aside(self.run_dir).items():
                record_incident(self.run_dir, "bad_checkpoint", rank=0, step=int(name.removeprefix("step-")),
                                action="set aside; resumed from the one before it", detail=f"{name}: {files} differ")  # fmt: skip
            remove_debris(self.run_dir, spec.keep_last, spec.milestone_every)
        torch.distributed.barrier()
        resume = self._newest()
        self.step = resume.step if resume else 0
        self.model = self._build_model(resume)
        self.ema = self._build_ema(resume) if spec.ema_decay and self.rank == 0 else None
        self.engine = build_engine(
            self.model, zero_stage=spec.zero_stage, dtype=spec.dtype, batch_per_rank=spec.batch_size // self.world,
            learning_rate=spec.learning_rate, weight_decay=spec.weight_decay, grad_clip=spec.grad_clip,
        )  # fmt: skip
        self.finite = FiniteSteps(self.engine)
        if resume:
            load_optimizer(self.engine, resume.path / "optimizer.safetensors", self.step)

    def run(self, stop: StopRequest, report: Reporter) -> bool:
        """Train to the end or until asked to stop; True if the run is complete."""
        spec = self.spec
        last = spec.num_steps if spec.max_steps_this_run is None else min(spec.num_steps, self.step + spec.max_steps_this_run)
        losses, seen = (Journal(self.run_dir / name, self.step) if self.rank == 0 else None for name in (LOSSES, SEEN))
        started, logged, first = time.monotonic(), 0.0, self.step
        stopped = False
        self.beat.enter(STEP, self.step)
        while self.step < last and not stopped:
            self.writer.check()
            clips, loss, grad_norm, stopped = self._step(stop)
            if losses and seen:
                losses.write(step=self.step, loss=loss, grad_norm=grad_norm, lr=self._rate())
                seen.write(step=self.step, clips=clips)
            self.beat.did(self.step)
            self.step += 1
            if self.step % spec.checkpoint_every == 0 or self.step == last or stopped:
                self._save([journal for journal in (losses, seen) if journal])
            if self.rank == 0 and time.monotonic() - logged > _LOG_EVERY_S:
                logged = time.monotonic()
                rate = (self.step - first) / (logged - started)
                line = f"{spec.stage}: step {self.step}/{spec.num_steps} loss {loss:.4f} {rate:.2f} steps/s"
                print(line, flush=True)
                report.progress(line)
        return self.step == spec.num_steps

    def _step(self, stop: StopRequest) -> tuple[list[str], float, float, bool]:
        """One optimizer step; ids of all ranks' clips, mean loss, norm of the gradient, whether any rank was asked to stop."""
        started, clips = time.monotonic(), []
        faults: list[dict[str, Any]] = []
        for draw in _DRAWS:
            at = self.step + draw * self.spec.num_steps  # steps beyond the last one draw what no other step does
            positions = self.sampler.batch(at)
            clips = [self.data.clips[position].clip_id for position in positions]
            own_loss = self._backward(at, positions)
            shared = torch.tensor([own_loss / self.world, float(stop.requested)], dtype=torch.float64, device=self.device)
            torch.distributed.all_reduce(shared)
            mean_loss, stops = shared.tolist()
            norm = self.finite.step(mean_loss)
            if norm is not None:
                if self.ema is not None:
                    self._update_ema()
                if faults:
                    self._report(faults, f"computed again with {'other' if draw else 'the same'} clips", started)
                return clips, mean_loss, norm, stops > 0
            faults += self._faults(positions, own_loss)
            self.beat.enter(STEP)
        self._report(faults, "no draw of clips helped; this start ends", started)
        raise NonFiniteError(
            f"{self.spec.stage}: loss or gradient is not finite at step {self.step}, learning rate {self._rate():g}, in "
            f"{len(_DRAWS)} tries with {len(set(_DRAWS))} draws of clips; the last ones: {clips}. {_summary(faults)}. "
            "Lower learning_rate, or mend the named clips' latents; the weights are those of the last finite step"
        )  # fmt: skip

    def _backward(self, at: int, positions: list[int]) -> float:
        """Gradients of this rank's part of the batch that step `at` draws; its loss."""
        shape = self.data.clips[positions[0]].shape
        sigmas, dropped = self._draw_levels(at, shape[1])
        mine = rank_slice(range(len(positions)), self.rank, self.world)
        clips = [self.data.clips[positions[place]] for place in mine]
        batch = self.data.batch(clips, [dropped[place] for place in mine], self.device)
        noise = torch.stack([torch.randn(shape, generator=self._generator(at, place)) for place in mine]).to(self.device)
        sigma_BF, is_clean_BF = sigmas.sigma_BF[mine].to(self.device), sigmas.is_clean_BF[mine].to(self.device)

        for group in self.engine.optimizer.param_groups:
            group["lr"] = self._rate()
        dtype = torch.bfloat16 if self.spec.dtype == "bfloat16" else torch.float32
        velocity = self.engine(
            add_noise(batch.latents_BCFHW, noise, sigma_BF).to(dtype), 1000 * sigma_BF, batch.text_BSD.to(dtype),
            batch.fps_B if self.model.config.inject_sample_info else None,
        )  # fmt: skip
        loss = flow_matching_loss(velocity.float(), batch.latents_BCFHW, noise, is_clean_BF)
        self.engine.backward(loss)
        return loss.detach().item()

    def _faults(self, positions: list[int], own_loss: float) -> list[dict[str, Any]]:
        """What each rank saw of a step that was refused: its loss, and the clips whose latents or text are not finite themselves."""
        mine = [self.data.clips[positions[place]] for place in rank_slice(range(len(positions)), self.rank, self.world)]
        broken = sorted({clip.clip_id for clip in mine if not self.data.is_finite(clip)})
        seen: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(seen, {"rank": self.rank, "loss": own_loss, "broken": broken})
        return [fault for fault in seen if fault["broken"] or not math.isfinite(fault["loss"])]

    def _report(self, faults: list[dict[str, Any]], action: str, started: float) -> None:
        if self.rank == 0:
            record_incident(self.run_dir, "non_finite", step=self.step, action=action, detail=_summary(faults),
                            rank=faults[0]["rank"] if faults else None, seconds_lost=time.monotonic() - started)  # fmt: skip

    def _draw_levels(self, at: int, frames: int) -> tuple[Sigmas, list[bool]]:
        """Noise levels and caption dropout of the whole step's batch; every rank draws the same and takes its part."""
        spec, generator = self.spec, self._generator(at, "levels")
        sigmas = sample_sigmas(
            spec.batch_size, frames, p_fopp=spec.p_fopp, p_sync=spec.p_sync, p_prefix=spec.p_prefix, mean=spec.timestep_mean,
            std=spec.timestep_std, shift=spec.timestep_shift, generator=generator,
        )  # fmt: skip
        return sigmas, (torch.rand(spec.batch_size, generator=generator) < spec.caption_dropout).tolist()

    def _generator(self, at: int, place: object) -> torch.Generator:
        """Random numbers of one place in one step, whatever rank draws them and whatever was drawn before."""
        digest = hashlib.sha256(f"{self.spec.seed} {at} {place}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def _rate(self) -> float:
        """Learning rate of the coming step: linear warm-up, then constant or a cosine to zero."""
        spec = self.spec
        if self.step < spec.warmup_steps:
            return spec.learning_rate * (self.step + 1) / spec.warmup_steps
        if spec.schedule == "cosine":
            done = (self.step - spec.warmup_steps) / max(1, spec.num_steps - spec.warmup_steps)
            return spec.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        return spec.learning_rate

    def _newest(self) -> Checkpoint | None:
        found = find_checkpoints(self.run_dir)
        if not found:
            return None
        if found[-1].spec_hash != self.spec.hash():
            raise ValueError(f"{found[-1].path} was written under another spec; use a fresh run folder")
        return found[-1]

    def _build_model(self, resume: Checkpoint | None) -> SkyReelsTransformer:
        if resume:
            model = SkyReelsTransformer.from_pretrained(resume.path / "transformer")
        elif self.spec.parent_dir:
            model = grow(self.spec.parent_dir, self.spec.transformer)
        else:
            torch.manual_seed(self.spec.seed)
            model = SkyReelsTransformer.from_config(self.spec.transformer)
        return model.to(self.device)

    def _build_ema(self, resume: Checkpoint | None) -> SkyReelsTransformer:
        ema = SkyReelsTransformer(self.model.config)
        source = SkyReelsTransformer.from_pretrained(resume.path / "ema") if resume else self.model
        ema.load_state_dict(source.state_dict())
        return ema.requires_grad_(False).to(self.device)

    @torch.no_grad()
    def _update_ema(self) -> None:
        assert self.ema is not None
        decay = min(self.spec.ema_decay, (1 + self.step) / (10 + self.step))  # short memory while weights still race
        for average, parameter in zip(self.ema.parameters(), self.engine.module.parameters(), strict=True):
            average.lerp_(parameter.float(), 1 - decay)

    def _save(self, journals: list[Journal]) -> None:
        """Take a copy of the state at this step and let rank 0's thread write it. Collective."""
        self.beat.enter(CHECKPOINT)
        moments = gather_optimizer(self.engine, write=self.rank == 0)
        if self.rank == 0:
            models = {"transformer": self.model, **({"ema": self.ema} if self.ema is not None else {})}
            weights = {name: host_copy(model.state_dict()) for name, model in models.items()}

            def fill(folder: Path) -> None:
                for journal in journals:
                    journal.sync()
                for name, tensors in weights.items():
                    _save_weights(self.model.config, tensors, folder / name)
                save_file(moments, folder / "optimizer.safetensors")

            self.writer.start(self.step, fill, {"step": self.step, "spec_hash": self.spec.hash(), "world_size": self.world})
        self.beat.enter(STEP)


def _save_weights(config: TransformerConfig, weights: dict[str, Tensor], folder: Path) -> None:
    with torch.device("meta"):
        shell = SkyReelsTransformer(config)
    shell.load_state_dict(weights, strict=True, assign=True)
    shell.save_pretrained(folder)


def _summary(faults: list[dict[str, Any]]) -> str:
    """Which ranks and clips a refused step points at."""
    ranks = sorted({fault["rank"] for fault in faults})
    broken = sorted({clip for fault in faults for clip in fault["broken"]})
    where = f"Rank {', '.join(map(str, ranks))} saw it first" if ranks else "Every loss was finite, the gradient was not"
    return where + (f"; latents that are not finite: {broken}" if broken else "; every clip's latents are finite")


def main(arguments: list[str] | None = None) -> None:
    """Run one rank; see the module docstring."""
    die_with_parent()
    watch_supervisor()
    parser = argparse.ArgumentParser(description="Train one stage from a spec file.")
    parser.add_argument("--spec", required=True, help="JSON file of model.spec.TrainSpec")
    parser.add_argument("--local_rank", default="0", help="set by the launcher")
    parser.add_argument("--attempt", type=int, help="set by the supervisor: its number of this start")
    options = parser.parse_args(arguments)
    spec = TrainSpec.load(options.spec)
    stop = StopRequest()
    torch.set_num_threads(spec.threads_per_rank)
    for name, value in _ALONE.items():
        os.environ.setdefault(name, value)
    run_dir = Path(spec.run_dir)
    beat = Heartbeat(run_dir, int(os.environ["RANK"]), options.attempt)
    try:
        init_distributed(spec.accelerator)
        trainer = Trainer(spec, beat)
        with reporter(active=trainer.rank == 0) as report:
            _train(trainer, stop, report)
    except BaseException as error:
        beat.fail(error)
        raise
    beat.end()


def _train(trainer: Trainer, stop: StopRequest, report: Reporter) -> None:
    """Train to the end; rank 0 leaves the result once the last checkpoint is whole."""
    started, first = time.monotonic(), trainer.step
    complete = trainer.run(stop, report)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()  # the other ranks need not wait for the file
    if trainer.rank == 0:
        trainer.beat.enter(CHECKPOINT)
        trainer.writer.wait()
        result = {
            "complete": complete, "step": trainer.step, "spec_hash": trainer.spec.hash(), "world_size": trainer.world,
            "seconds": round(time.monotonic() - started, 3), "steps_this_run": trainer.step - first,
            "checkpoint": find_checkpoints(trainer.run_dir)[-1].path.name,
        }  # fmt: skip
        write_json(trainer.run_dir / RESULT, result)
        report.finish(result)


if __name__ == "__main__":
    main()
