"""The training loop of every stage: one process per rank, started by DeepSpeed's launcher, by torchrun or by hand.

    deepspeed --num_accelerators 2 --module model.train --spec RUN/spec.json
    python -m model.train --spec RUN/spec.json                  # one rank

Everything random in a step derives from (seed, step, place in the batch), never from a generator's history. So a run killed
anywhere continues from its newest checkpoint and ends with the same losses and weights, bit for bit on CPU with the same number of
ranks. SIGINT or SIGTERM stops it at the next step with a checkpoint.

A step whose loss or gradient is not finite is not taken: it is computed again, then with other clips, then the run ends with an error.
"""

import argparse
import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.activations import offload_activations
from model.build import build_model
from model.checkpoint import Checkpoint, find_checkpoints, remove_debris, set_bad_aside, write_json
from model.draws import Draws
from model.engine import build_engine, init_distributed
from model.errors import NonFiniteError
from model.feed import Feed, MicroBatch
from model.finite import FiniteSteps, find_faults, summary
from model.guard import StopRequest, die_with_parent, watch_supervisor
from model.heartbeat import CHECKPOINT, STEP, VALIDATION, Heartbeat
from model.journal import record_incident
from model.lora import merge
from model.memory import peak_memory, require_memory
from model.objectives import flow_matching_loss, level_weights
from model.parallel import SequenceGroup
from model.rates import rates_at
from model.record import Record
from model.reporter import Reporter, reporter
from model.spec import TrainSpec
from model.training_state import (
    EMA,
    MASTER,
    MOMENTS,
    TrainingState,
    build_plain,
    gather,
    gather_frozen,
    load_optimizer,
    start_optimizer,
    update_ema,
)  # fmt: skip
from model.validation import ValidationFilms
from model.writer import CheckpointWriter, Keep

RESULT = "result.json"
_ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # by hand


class Trainer:
    """One rank of one run."""

    def __init__(self, spec: TrainSpec, beat: Heartbeat) -> None:
        self.spec, self.beat = spec, beat
        self.rank, self.world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.run_dir = Path(spec.run_dir)
        self.device = torch.device("cpu" if spec.accelerator == "cpu" else f"cuda:{os.environ.get('LOCAL_RANK', 0)}")
        shared = spec.sequence_parallel
        self.feed = Feed(spec, self.rank // shared, self.world // shared, self.device)
        self.writer = CheckpointWriter(self.run_dir, Keep(last=spec.keep_last, milestone_every=spec.milestone_every))
        if self.rank == 0:
            for name, files in set_bad_aside(self.run_dir).items():
                record_incident(self.run_dir, "bad_checkpoint", rank=0, step=int(name.removeprefix("step-")),
                                action="set aside; resumed from the one before it", detail=f"{name}: {files} differ")  # fmt: skip
            remove_debris(self.run_dir, spec.keep_last, spec.milestone_every)
        torch.distributed.barrier()
        resume = self._newest()
        self.step = resume.step if resume else 0
        model = build_model(spec, resume)
        self.config = model.config
        if shared > 1:
            model.enable_sequence_parallel(SequenceGroup(shared, model.config.num_attention_heads))
        # bf16 rounds the weights that the engine is built from; the fp32 master weights start from what was read
        exact = None
        if spec.dtype != "float32":
            exact = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
            if spec.zero_stage < 3:
                exact = {name: value.clone() for name, value in exact.items()}  # else they are mapped files
        self.engine = build_engine(model, spec, shared)
        start_optimizer(self.engine, self.step, ema=spec.ema_decay > 0, weights=exact)
        if resume:
            load_optimizer(self.engine, resume.path)
        self.finite = FiniteSteps(self.engine)
        self.draws = Draws(lambda at: (clip.clip_id for clip in self.feed.batch_clips(at)), spec.num_steps)
        if spec.activation_offload and spec.accelerator == "cpu" and self.rank == 0:
            print("activation_offload has no effect on the CPU: activations are in host memory already", flush=True)
        self.record = Record(self.run_dir, self.step, spec, self.config, self.feed.data) if self.rank == 0 else None
        self.films = ValidationFilms(spec.validation, self.feed.data, self.device) if spec.validation and self.rank == 0 else None

    def run(self, stop: StopRequest, report: Reporter) -> bool:
        """Train to the end or until asked to stop; True if the run is complete."""
        spec = self.spec
        last = spec.num_steps if spec.max_steps_this_run is None else min(spec.num_steps, self.step + spec.max_steps_this_run)
        record, stopped = self.record, False
        self.beat.enter(STEP, self.step)
        while self.step < last and not stopped:
            self.writer.check()
            at, loss, norm, stopped = self._step(stop)
            if record and (line := record.write(self.step, loss, norm, self.feed.batch_clips(at))):
                print(line, flush=True)
                report.progress(line)
            self.beat.did(self.step)
            self.step += 1
            if self.step % spec.checkpoint_every == 0 or self.step == last or stopped:
                self._save()
            if spec.validation and self.step % spec.validation["every_steps"] == 0:
                self._validate()
            if record:
                record.pause_over()
        return self.step == spec.num_steps

    def _step(self, stop: StopRequest) -> tuple[int, float, float, bool]:
        """One optimizer step; the step whose clips it saw, mean loss, norm of the gradient, whether any rank was asked to stop."""
        started, spec, at = time.monotonic(), self.spec, self.step
        rate, decay = rates_at(spec, self.step)
        faults: list[dict[str, Any]] = []
        tried: list[int] = []
        for at in self.draws.tries(self.step):
            for group in self.engine.optimizer.param_groups:
                group["lr"], group["weight_decay"] = rate, decay
            own_loss = self._backward(at)
            shared = torch.tensor([own_loss / self.world, float(stop.requested)], dtype=torch.float64, device=self.device)
            torch.distributed.all_reduce(shared)
            mean_loss, stops = shared.tolist()
            norm = self.finite.step(mean_loss)
            if norm is not None:
                if spec.ema_decay:
                    # short memory while weights still race
                    update_ema(self.engine, min(spec.ema_decay, (1 + self.step) / (10 + self.step)))
                if tried:
                    self._report(faults, f"computed again with {'the same' if at == self.step else 'other'} clips", started)
                return at, mean_loss, norm, stops > 0
            tried.append(at)
            faults += find_faults(self.feed.data, self.feed.own_clips(at), own_loss)
            self.draws.learn(clip for fault in faults for clip in fault["broken"])
            self.beat.enter(STEP)
        self._report(faults, "no draw of clips helped; this start ends", started)
        raise NonFiniteError(
            f"{spec.stage}: loss or gradient is not finite at step {self.step}, learning rate {rate:g}, in {len(tried)} tries with "
            f"{len(set(tried))} draws of clips; the last ones: {[clip.clip_id for clip in self.feed.batch_clips(at)]}. "
            f"{summary(faults)}. Lower learning_rate, or mend the named clips' latents; the weights are those of the last finite step"
        )

    def _backward(self, at: int) -> float:
        """Gradients of this rank's part of the batch that step `at` draws; its loss. The last micro-batch awaits `finite.step`."""
        parts = self.spec.micro_batches
        loss = 0.0
        for number, batch in enumerate(self.feed.micro_batches(at), start=1):
            part = self._loss(batch)
            self.engine.backward(part)
            if number < parts:
                self.engine.step()  # adds up, changes no weight
            loss += part.detach().item() / parts
        return loss

    def _loss(self, batch: MicroBatch) -> Tensor:
        dtype = torch.bfloat16 if self.spec.dtype == "bfloat16" else torch.float32
        with offload_activations() if self.spec.activation_offload and self.device.type == "cuda" else nullcontext():
            velocity = self.engine(
                batch.noised_BCFHW.to(dtype), 1000 * batch.sigma_BF, batch.text_BSD.to(dtype),
                batch.fps_B if self.config.inject_sample_info else None,
            )  # fmt: skip
        weight_BF = level_weights(batch.sigma_BF, self.spec.loss_weighting)
        return flow_matching_loss(velocity.float(), batch.latents_BCFHW, batch.noise_BCFHW, batch.is_clean_BF, weight_BF)

    def _report(self, faults: list[dict[str, Any]], action: str, started: float) -> None:
        if self.rank == 0:
            record_incident(self.run_dir, "non_finite", step=self.step, action=action, detail=summary(faults),
                            rank=faults[0]["rank"] if faults else None, seconds_lost=time.monotonic() - started)  # fmt: skip

    def _newest(self) -> Checkpoint | None:
        found = find_checkpoints(self.run_dir)
        if not found:
            return None
        if found[-1].spec_hash != self.spec.hash():
            raise ValueError(f"{found[-1].path} was written under another spec; use a fresh run folder")
        return found[-1]

    def _save(self) -> None:
        """Take a copy of the state at this step and let rank 0's thread write it. Collective."""
        self.beat.enter(CHECKPOINT)
        keep = self.rank == 0
        weights = gather(self.engine, MASTER, keep=keep)
        ema = gather(self.engine, EMA, keep=keep) if self.spec.ema_decay else None
        moments = {
            f"{moment}.{name}": value for moment in MOMENTS for name, value in gather(self.engine, moment, keep=keep).items()
        }
        frozen = gather_frozen(self.engine, keep=keep)
        if record := self.record:
            state = TrainingState(
                config=self.config, weights=weights, frozen=frozen, ema=ema, moments=moments, lora=self.spec.lora
            )

            def fill(folder: Path) -> None:
                record.sync()
                state.save(folder)

            self.writer.start(self.step, fill, {"step": self.step, "spec_hash": self.spec.hash(), "world_size": self.world})
        self.beat.enter(STEP)

    def _validate(self) -> None:
        """Make the films of this step; collective, rank 0 samples while the others wait."""
        self.beat.enter(VALIDATION)
        trained = gather(self.engine, EMA if self.spec.ema_decay else MASTER, keep=self.films is not None)
        frozen = gather_frozen(self.engine, keep=self.films is not None)
        if self.films:
            whole = merge({**frozen, **trained}, self.spec.lora) if self.spec.lora else trained
            dtype = torch.bfloat16 if self.spec.dtype == "bfloat16" else torch.float32
            self.films.make(build_plain(self.config, whole).to(self.device, dtype).eval(), self.run_dir, self.step)
        torch.distributed.barrier()
        self.beat.enter(STEP)


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
        if int(os.environ.get("LOCAL_RANK", 0)) == 0:
            require_memory(spec)
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
    if trainer.record:
        trainer.beat.enter(CHECKPOINT)
        trainer.writer.wait()  # it flushes the journals, so they are closed after it
        trainer.record.close()
        result = {
            "complete": complete, "step": trainer.step, "spec_hash": trainer.spec.hash(), "world_size": trainer.world,
            "seconds": round(time.monotonic() - started, 3), "steps_this_run": trainer.step - first,
            "checkpoint": find_checkpoints(trainer.run_dir)[-1].path.name, "peak_memory_bytes": peak_memory(trainer.device),
        }  # fmt: skip
        write_json(trainer.run_dir / RESULT, result)
        report.finish(result)


if __name__ == "__main__":
    main()
