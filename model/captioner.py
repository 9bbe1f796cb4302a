"""Fine-tunes a Qwen2.5-VL to answer with structured captions (SkyCaptioner): one process per rank.

    python -m torch.distributed.run --standalone --nproc_per_node 2 -m model.captioner --spec RUN/spec.json
    python -m model.captioner --spec RUN/spec.json                  # one rank

A checkpoint's folder `captioner/` is in transformers' layout, with tokenizer and processor, so vLLM serves it as it is; with LoRA the
factors are merged in, and lie beside it. A run killed anywhere goes on from its newest checkpoint: the order of clips is a function
of the seed.
"""

import argparse
import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from model.captioner_data import CaptionSet, example
from model.captioner_spec import CaptionerSpec
from model.checkpoint import Checkpoint, find_checkpoints, remove_debris, write_folder, write_json
from model.engine import build_engine, init_distributed
from model.guard import StopRequest, die_with_parent, watch_supervisor
from model.journal import LOSSES, Journal
from model.lora import add_lora, merge, read_adapter, save_adapter
from model.reporter import Reporter, reporter
from model.training_state import MASTER, MOMENTS, OPTIMIZER, gather, gather_frozen, load_optimizer, start_optimizer

CAPTIONER, ADAPTER = "captioner", "adapter"
RESULT = "result.json"
_KEEP = 2
_ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # by hand
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*", "*.pt")


class CaptionerTrainer:
    """One rank of one run."""

    def __init__(self, spec: CaptionerSpec) -> None:
        from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

        self.spec, self.rank = spec, torch.distributed.get_rank()
        self.world = torch.distributed.get_world_size()
        if spec.batch_size % self.world:
            raise ValueError(f"batch_size {spec.batch_size} does not divide among {self.world} ranks; set a multiple")
        self.run_dir = Path(spec.run_dir)
        self.device = torch.device("cpu" if spec.accelerator == "cpu" else f"cuda:{os.environ.get('LOCAL_RANK', 0)}")
        self.data = CaptionSet(spec.data_dir)
        self.order = self.data.order(spec.num_epochs, spec.seed)
        self.num_steps = math.ceil(len(self.order) / spec.batch_size)
        if self.rank == 0:
            remove_debris(self.run_dir, _KEEP)
        torch.distributed.barrier()
        resume = self._newest()
        self.step = resume.step if resume else 0
        self.tokenizer = AutoTokenizer.from_pretrained(spec.base_dir)
        whole = resume.path / CAPTIONER if resume and not spec.lora else Path(spec.base_dir)
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(whole, dtype=torch.float32)
        self.model.to(self.device)  # type: ignore[arg-type]  # transformers' wrapper hides nn.Module's signature
        self.model.config.use_cache = False
        self.model.gradient_checkpointing_enable({"use_reentrant": False})
        factors = None
        if spec.lora:
            add_lora(self.model, spec.lora, spec.seed)
            if resume:
                factors = dict(read_adapter(resume.path / ADAPTER))
                self.model.load_state_dict(factors, strict=False)
        weights = dict(self.model.state_dict()) if resume else None
        self.engine = build_engine(self.model, spec)  # type: ignore[arg-type]
        if resume:
            start_optimizer(self.engine, self.step, ema=False, weights=factors or weights)
            load_optimizer(self.engine, resume.path)

    def run(self, stop: StopRequest, report: Reporter) -> bool:
        """Train to the end or until asked to stop; True if the run is complete."""
        spec, stopped = self.spec, False
        last = min(self.num_steps, self.step + (spec.max_steps_this_run or self.num_steps))
        losses = Journal(self.run_dir / LOSSES, self.step) if self.rank == 0 else None
        while self.step < last and not stopped:
            loss, stopped = self._step(stop)
            if losses:
                losses.write(step=self.step, loss=loss, lr=self._rate())
            self.step += 1
            if self.step % spec.checkpoint_every == 0 or self.step == last or stopped:
                self._save()
            if self.rank == 0:
                line = f"captioner: step {self.step}/{self.num_steps} loss {loss:.4f}"
                print(line, flush=True)
                report.progress(line)
        if losses:
            losses.close()
        return self.step == self.num_steps

    def _step(self, stop: StopRequest) -> tuple[float, bool]:
        spec = self.spec
        start = self.step * spec.batch_size
        # the last step is filled from the front
        places = [self.order[(start + index) % len(self.order)] for index in range(spec.batch_size)]
        for group in self.engine.optimizer.param_groups:
            group["lr"] = self._rate()
        self.model.train()
        total = 0.0
        for place in places[self.rank :: self.world]:
            clip = self.data.clips[place]
            values = example(self.tokenizer, self.data.pictures(clip), spec.instruction, clip.answer, self.model.config.video_token_id)
            moved: dict[str, Any] = {name: tensor.to(self.device) for name, tensor in values.items()}
            if spec.dtype == "bfloat16":
                moved["pixel_values_videos"] = moved["pixel_values_videos"].bfloat16()
            loss = self.engine(**moved).loss
            self.engine.backward(loss)
            self.engine.step()
            total += float(loss.detach())
        shared = torch.tensor([total / spec.batch_size, float(stop.requested)], dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(shared)
        mean, stops = shared.tolist()
        if not math.isfinite(mean):
            raise FloatingPointError(f"loss is {mean} at step {self.step} of the captioner; lower learning_rate")
        return mean, stops > 0

    def _rate(self) -> float:
        """Linear warm-up, then constant (our choice: the paper names the rate alone)."""
        spec = self.spec
        return spec.learning_rate * min(1.0, (self.step + 1) / spec.warmup_steps) if spec.warmup_steps else spec.learning_rate

    def _newest(self) -> Checkpoint | None:
        found = find_checkpoints(self.run_dir)
        if found and found[-1].spec_hash != self.spec.hash():
            raise ValueError(f"{found[-1].path} was written under another spec; use a fresh run folder")
        return found[-1] if found else None

    def _save(self) -> None:
        """Write a checkpoint; collective, rank 0 writes."""
        keep = self.rank == 0
        trained = gather(self.engine, MASTER, keep=keep)
        frozen = gather_frozen(self.engine, keep=keep) if self.spec.lora else {}
        moments = {f"{moment}.{name}": value for moment in MOMENTS for name, value in gather(self.engine, moment, keep=keep).items()}
        if keep:
            target = self.run_dir / "checkpoints" / f"step-{self.step:08d}"
            write_folder(target, lambda folder: self._fill(folder, trained, frozen, moments), {
                "step": self.step, "spec_hash": self.spec.hash(), "world_size": self.world,
            })  # fmt: skip
            remove_debris(self.run_dir, _KEEP)
        torch.distributed.barrier()

    def _fill(self, folder: Path, trained: dict[str, Any], frozen: dict[str, Any], moments: dict[str, Any]) -> None:
        from safetensors.torch import save_file
        from transformers import Qwen2_5_VLForConditionalGeneration

        lora = self.spec.lora
        weights = merge({**frozen, **trained}, lora) if lora else trained
        plain = Qwen2_5_VLForConditionalGeneration.from_pretrained(self.spec.base_dir, dtype=torch.float32)
        missing, unknown = plain.load_state_dict(weights, strict=False)
        if unknown or set(missing) & {name for name, _ in plain.named_parameters()}:
            raise ValueError(f"weights do not fit the base: missing {missing[:3]}, unknown {unknown[:3]}")
        plain.save_pretrained(folder / CAPTIONER)
        skip = shutil.ignore_patterns(*_WEIGHTS, "config.json", "generation_config.json")
        shutil.copytree(self.spec.base_dir, folder / CAPTIONER, ignore=skip, dirs_exist_ok=True)
        if lora:
            save_adapter(trained, lora, folder / ADAPTER)
        save_file(moments, folder / OPTIMIZER)


def main(arguments: list[str] | None = None) -> None:
    """Run one rank; see the module docstring."""
    die_with_parent()
    watch_supervisor()
    parser = argparse.ArgumentParser(description="Fine-tune the captioner from a spec file.")
    parser.add_argument("--spec", required=True, help="JSON file of model.captioner_spec.CaptionerSpec")
    parser.add_argument("--local_rank", default="0", help="set by DeepSpeed's launcher")
    spec = CaptionerSpec.load(parser.parse_args(arguments).spec)
    stop = StopRequest()
    torch.set_num_threads(spec.threads_per_rank)
    for name, value in _ALONE.items():
        os.environ.setdefault(name, value)
    init_distributed(spec.accelerator)
    trainer = CaptionerTrainer(spec)
    with reporter(active=trainer.rank == 0) as report:
        complete = trainer.run(stop, report)
        torch.distributed.barrier()
        if trainer.rank == 0:
            result = {"complete": complete, "step": trainer.step, "spec_hash": spec.hash(), "world_size": trainer.world}
            write_json(Path(spec.run_dir) / RESULT, result)
            report.finish(result)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
