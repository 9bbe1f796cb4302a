"""The training loop of every stage: one process per rank, started by DeepSpeed's launcher, by torchrun or by hand.

    deepspeed --num_accelerators 2 --module model.train --spec RUN/spec.json
    python -m model.train --spec RUN/spec.json                  # one rank

Everything random in a step derives from (seed, step, place in the batch), never from a generator's history. So a run killed
anywhere continues from its newest checkpoint and ends with the same losses and weights, bit for bit on CPU with the same number of
ranks. SIGINT or SIGTERM stops it at the next step with a checkpoint.
"""

import argparse
import hashlib
import math
import os
import time
from pathlib import Path

import torch

from model.buckets import BucketSampler, rank_slice
from model.checkpoint import Checkpoint, find_checkpoints, remove_debris, write_folder, write_json
from model.engine import build_engine, init_distributed, load_optimizer, save_optimizer
from model.forcing import Sigmas, sample_sigmas
from model.guard import StopRequest, die_with_parent, watch_supervisor
from model.journal import LOSSES, SEEN, Journal
from model.latents import LatentSet
from model.objectives import add_noise, flow_matching_loss
from model.reporter import Reporter, reporter
from model.spec import TrainSpec
from model.transformer import SkyReelsTransformer

RESULT = "result.json"
_KEEP = 2  # checkpoints kept while running: the newest, and one more should the disk fail under it
_LOG_EVERY_S = 5.0
_ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # by hand


class Trainer:
    """One rank of one run."""

    def __init__(self, spec: TrainSpec) -> None:
        self.spec = spec
        self.rank = torch.distributed.get_rank()
        self.world = torch.distributed.get_world_size()
        if spec.batch_size % self.world:
            raise ValueError(f"batch_size {spec.batch_size} does not divide among {self.world} ranks; set a multiple")
        self.run_dir = Path(spec.run_dir)
        self.device = torch.device("cpu" if spec.accelerator == "cpu" else f"cuda:{os.environ.get('LOCAL_RANK', 0)}")
        self.data = LatentSet(spec.latents_dir)
        self.sampler = BucketSampler(self.data.bucket_keys(), spec.batch_size, spec.seed)
        if self.rank == 0:
            remove_debris(self.run_dir, _KEEP)
        torch.distributed.barrier()
        resume = self._newest()
        self.step = resume.step if resume else 0
        self.model = self._build_model(resume)
        self.ema = self._build_ema(resume) if spec.ema_decay and self.rank == 0 else None
        self.engine = build_engine(
            self.model, zero_stage=spec.zero_stage, dtype=spec.dtype, batch_per_rank=spec.batch_size // self.world,
            learning_rate=spec.learning_rate, weight_decay=spec.weight_decay, grad_clip=spec.grad_clip,
        )  # fmt: skip
        if resume:
            load_optimizer(self.engine, resume.path / "optimizer.safetensors", self.step)

    def run(self, stop: StopRequest, report: Reporter) -> bool:
        """Train to the end or until asked to stop; True if the run is complete."""
        spec = self.spec
        last = spec.num_steps if spec.max_steps_this_run is None else min(spec.num_steps, self.step + spec.max_steps_this_run)
        losses, seen = (Journal(self.run_dir / name, self.step) if self.rank == 0 else None for name in (LOSSES, SEEN))
        started, logged, first = time.monotonic(), 0.0, self.step
        stopped = False
        while self.step < last and not stopped:
            clips, loss, stopped = self._step(stop)
            if losses and seen:
                losses.write(step=self.step, loss=loss, grad_norm=float(self.engine.get_global_grad_norm()), lr=self._rate())
                seen.write(step=self.step, clips=clips)
            self.step += 1
            if self.step % spec.checkpoint_every == 0 or self.step == last or stopped:
                self._save()
            if self.rank == 0 and time.monotonic() - logged > _LOG_EVERY_S:
                logged = time.monotonic()
                rate = (self.step - first) / (logged - started)
                line = f"{spec.stage}: step {self.step}/{spec.num_steps} loss {loss:.4f} {rate:.2f} steps/s"
                print(line, flush=True)
                report.progress(line)
        return self.step == spec.num_steps

    def _step(self, stop: StopRequest) -> tuple[list[str], float, bool]:
        """One optimizer step; the ids of all ranks' clips, the mean loss, and whether any rank was asked to stop."""
        positions = self.sampler.batch(self.step)
        shape = self.data.clips[positions[0]].shape
        sigmas, dropped = self._draw_levels(shape[1])
        mine = rank_slice(range(len(positions)), self.rank, self.world)
        clips = [self.data.clips[positions[place]] for place in mine]
        batch = self.data.batch(clips, [dropped[place] for place in mine], self.device)
        noise = torch.stack([torch.randn(shape, generator=self._generator(place)) for place in mine]).to(self.device)
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
        self.engine.step()
        if self.ema is not None:
            self._update_ema()

        shared = torch.tensor([loss.detach().item() / self.world, float(stop.requested)], dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(shared)
        mean_loss, stops = shared.tolist()
        if not math.isfinite(mean_loss):
            raise FloatingPointError(f"loss is {mean_loss} at step {self.step} of {self.spec.stage}; lower learning_rate")
        return [self.data.clips[position].clip_id for position in positions], mean_loss, stops > 0

    def _draw_levels(self, frames: int) -> tuple[Sigmas, list[bool]]:
        """Noise levels and caption dropout of the whole step's batch; every rank draws the same and takes its part."""
        spec, generator = self.spec, self._generator("levels")
        sigmas = sample_sigmas(
            spec.batch_size, frames, p_fopp=spec.p_fopp, p_sync=spec.p_sync, p_prefix=spec.p_prefix, mean=spec.timestep_mean,
            std=spec.timestep_std, shift=spec.timestep_shift, generator=generator,
        )  # fmt: skip
        return sigmas, (torch.rand(spec.batch_size, generator=generator) < spec.caption_dropout).tolist()

    def _generator(self, place: object) -> torch.Generator:
        """Random numbers of one place in this step, whatever rank draws them and whatever was drawn before."""
        digest = hashlib.sha256(f"{self.spec.seed} {self.step} {place}".encode()).digest()
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
            model = SkyReelsTransformer.from_pretrained(self.spec.parent_dir)
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

    def _save(self) -> None:
        """Write a checkpoint; collective, rank 0 writes."""
        target = self.run_dir / "checkpoints" / f"step-{self.step:08d}"
        if self.rank == 0:

            def fill(folder: Path) -> None:
                self.model.save_pretrained(folder / "transformer")
                if self.ema is not None:
                    self.ema.save_pretrained(folder / "ema")
                save_optimizer(self.engine, folder / "optimizer.safetensors", write=True)

            manifest = {"step": self.step, "spec_hash": self.spec.hash(), "world_size": self.world}
            write_folder(target, fill, manifest)
            remove_debris(self.run_dir, _KEEP)
        else:
            save_optimizer(self.engine, target, write=False)
        torch.distributed.barrier()


def main(arguments: list[str] | None = None) -> None:
    """Run one rank; see the module docstring."""
    die_with_parent()
    watch_supervisor()
    parser = argparse.ArgumentParser(description="Train one stage from a spec file.")
    parser.add_argument("--spec", required=True, help="JSON file of model.spec.TrainSpec")
    parser.add_argument("--local_rank", default="0", help="set by the launcher")
    spec = TrainSpec.load(parser.parse_args(arguments).spec)
    stop = StopRequest()
    torch.set_num_threads(spec.threads_per_rank)
    for name, value in _ALONE.items():
        os.environ.setdefault(name, value)
    init_distributed(spec.accelerator)
    trainer = Trainer(spec)
    started, first = time.monotonic(), trainer.step
    with reporter(active=trainer.rank == 0) as report:
        complete = trainer.run(stop, report)
        if trainer.rank == 0:
            result = {
                "complete": complete, "step": trainer.step, "spec_hash": spec.hash(), "world_size": trainer.world,
                "seconds": round(time.monotonic() - started, 3), "steps_this_run": trainer.step - first,
                "checkpoint": find_checkpoints(Path(spec.run_dir))[-1].path.name,
            }  # fmt: skip
            write_json(Path(spec.run_dir) / RESULT, result)
            report.finish(result)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
