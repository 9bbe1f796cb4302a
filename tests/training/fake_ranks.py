"""A launcher with ranks that do everything but train: heartbeats, losses, checkpoints, and the faults that a test asks for.

    python -m tests.training.fake_ranks RUN_DIR ATTEMPT SLOT,SLOT,...        the launcher
    python -m tests.training.fake_ranks RUN_DIR ATTEMPT SLOT RANK WORLD      one rank

Every step ends with a message to rank 0 and an answer, in place of a collective: a lost peer is an error, a stopped one a wait.

RUN_DIR/faults.json: [{"attempt" or "slot", "rank", "step", "do"}]; what is left out matches anything. Steps take 20 ms, every fourth
makes a checkpoint, the twelfth is the last.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from model.checkpoint import find_checkpoints, write_folder
from model.errors import CheckpointError, NonFiniteError
from model.guard import die_with_parent
from model.heartbeat import STEP, Heartbeat
from model.journal import LOSSES, Journal

NUM_STEPS = 12
_ERRORS = {"refuse": ValueError, "poison": NonFiniteError, "fill the disk": CheckpointError, "lose a peer": RuntimeError}


def launch(run_dir: Path, attempt: int, slots: list[str]) -> int:
    """Start the ranks; when one fails, end the others, as DeepSpeed's launcher does."""
    module = [sys.executable, "-m", "tests.training.fake_ranks", str(run_dir), str(attempt)]
    ranks = [subprocess.Popen([*module, slot, str(rank), str(len(slots))]) for rank, slot in enumerate(slots)]
    while any(rank.poll() is None for rank in ranks):
        if code := next((rank.returncode for rank in ranks if rank.poll()), 0):
            time.sleep(0.7)  # as long as DeepSpeed's launcher may take to see it; the others beat meanwhile
            for rank in ranks:
                rank.kill()
            return code & 0xFF
        time.sleep(0.02)
    return next((rank.returncode & 0xFF for rank in ranks if rank.returncode), 0)


def connect(run_dir: Path, attempt: int, rank: int, world: int) -> list[socket.socket]:
    """Rank 0's connections to all others, or another rank's to rank 0."""
    port = run_dir / f"port-{attempt}"
    if rank == 0:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port.with_suffix(".new").write_text(str(server.getsockname()[1]))
            port.with_suffix(".new").rename(port)
            return [server.accept()[0] for _ in range(world - 1)]
    while not port.exists():
        time.sleep(0.01)
    return [socket.create_connection(("127.0.0.1", int(port.read_text())))]


def meet(peers: list[socket.socket], rank: int) -> None:
    """One collective."""
    for asks in (rank > 0, rank == 0):
        for peer in peers:
            if asks:
                peer.sendall(b".")
            elif not peer.recv(1):
                raise RuntimeError("Connection closed by peer")


def train(run_dir: Path, attempt: int, slot: str, rank: int, world: int) -> None:
    """Count steps and do what faults.json says."""
    faults = json.loads((run_dir / "faults.json").read_text())
    found = find_checkpoints(run_dir)
    first = found[-1].step if found else 0
    beat = Heartbeat(run_dir, rank, attempt)
    losses = Journal(run_dir / LOSSES, first) if rank == 0 else None
    try:
        peers = connect(run_dir, attempt, rank, world)
        beat.enter(STEP, first)
        for step in range(first, NUM_STEPS):
            for fault in faults:
                here = {"attempt": attempt, "slot": slot, "rank": rank, "step": step}
                if all(here[key] == value for key, value in fault.items() if key != "do"):
                    do(fault["do"], step)
            time.sleep(0.02)
            meet(peers, rank)
            if losses:
                losses.write(step=step, loss=1.0, attempt=attempt)
            beat.did(step)
            if rank == 0 and (step + 1) % 4 == 0:
                write_folder(run_dir / f"checkpoints/step-{step + 1:08d}", lambda _: None, {"step": step + 1, "spec_hash": "s"})
    except BaseException as error:
        beat.fail(error)
        raise
    beat.end()


def do(what: str, step: int) -> None:
    """One fault."""
    print(f"{what} at step {step}", flush=True)
    time.sleep(0.6)  # a beat tells the step first
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if what == "compute for ever":
        while True:
            time.sleep(1)
    if what == "kill the launcher":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    raise _ERRORS[what](f"{what} at step {step}")


if __name__ == "__main__":
    run, number, places, *rest = sys.argv[1:]
    if rest:
        die_with_parent()
        train(Path(run), int(number), places, int(rest[0]), int(rest[1]))
    else:
        sys.exit(launch(Path(run), int(number), places.split(",")))
