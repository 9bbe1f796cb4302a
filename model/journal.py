"""Append-only logs of a run. One JSON line per optimizer step: losses, and which clips each step saw. One per incident.

A killed run has logged steps beyond its last checkpoint; they will be repeated. Opening a journal at a step therefore cuts it back
to that step, half-written last line included, so the finished file equals that of an uninterrupted run.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOSSES = "losses.jsonl"
SEEN = "seen.jsonl"
INCIDENTS = "incidents.jsonl"


class Journal:
    """Lines with a key 'step' counting from 0."""

    def __init__(self, path: Path, step: int) -> None:
        """Continue at `step`: lines of earlier steps stay, later ones go."""
        kept = []
        for line in read_lines(path):
            if line["step"] < step:
                kept.append(json.dumps(line) + "\n")
        if len(kept) != step:
            raise ValueError(f"{path} holds {len(kept)} steps before step {step}; it does not belong to this checkpoint")
        temporary = path.with_name(f".{path.name}")
        temporary.write_text("".join(kept), encoding="utf-8")
        temporary.rename(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, **values: Any) -> None:
        """Append one step; visible to readers at once."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Flush to disk: a checkpoint must not survive a power cut without the lines of its steps."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def record_incident(
    run_dir: Path, kind: str, *, action: str, step: int | None, rank: int | None = None, seconds_lost: float | None = None,
    detail: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Append one line to a run's incidents: what happened, where, and what is done about it.

    kind: dead_rank, hung_rank, stuck, non_finite, bad_checkpoint, ... (docs/training.md lists them), or `recovered`, which closes the
    incidents before it. step: optimizer steps done. seconds_lost: None until it is known.
    """
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"), "kind": kind, "rank": rank, "step": step, "action": action,
        "seconds_lost": None if seconds_lost is None else round(seconds_lost, 1), "detail": detail,
    }  # fmt: skip
    with (run_dir / INCIDENTS).open("a", encoding="utf-8") as file:  # one short write at the end: ranks and supervisor share the file
        file.write(json.dumps(line) + "\n")
    return line


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Complete lines of a journal; a last line cut by a kill is left out. Empty if there is no file."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
