"""Starts the training ranks of this machine and waits for them, in the environment that DeepSpeed and torchrun agree on.

    python -m model.start --devices 0,1 --master_port 29500 -- --spec RUN/spec.json --attempt 1

DeepSpeed's node launcher does the same and imports torch and DeepSpeed first, 4 s before the first rank starts. Ranks are direct children,
so that the kernel ends them when this process dies.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from model.guard import die_with_parent

_POLL_S = 0.05
_PEERS_S = 1.0  # in which the other ranks may end by themselves after one has failed, with their own account of it
_TERM_S = 5.0  # between SIGTERM and SIGKILL


def start(devices: Sequence[str], port: int, arguments: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    """One rank of model.train per device."""
    common = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(len(devices)),
        "LOCAL_SIZE": str(len(devices)), "CUDA_VISIBLE_DEVICES": ",".join(devices),
    }  # fmt: skip
    return [
        subprocess.Popen(
            [sys.executable, "-u", "-m", "model.train", f"--local_rank={rank}", *arguments],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(len(devices))
    ]


def wait(ranks: Sequence[subprocess.Popen[bytes]]) -> int:
    """Exit code of the first rank that fails, after ending the others, which would wait for it for ever; 0 if none does."""
    while True:
        codes = [rank.poll() for rank in ranks]
        if code := next((code for code in codes if code), 0):
            break
        if None not in codes:
            return 0
        time.sleep(_POLL_S)
    for number, wait_s in ((0, _PEERS_S), (signal.SIGTERM, _TERM_S), (signal.SIGKILL, _TERM_S)):
        _signal(ranks, number)
        deadline = time.monotonic() + wait_s
        while None in [rank.poll() for rank in ranks] and time.monotonic() < deadline:
            time.sleep(_POLL_S)
    return code & 0xFF


def _signal(ranks: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for rank in ranks:
        if rank.poll() is None:
            rank.send_signal(number)


def main() -> None:
    """Entry of the process."""
    die_with_parent()
    parser = argparse.ArgumentParser(description="Start the training ranks of this machine.")
    parser.add_argument("--devices", required=True, help="numbers of the devices, one rank each: 0,1")
    parser.add_argument("--master_port", required=True, type=int, help="port of the rendezvous on loopback")
    parser.add_argument("arguments", nargs="+", help="passed on to model.train, after --")
    options = parser.parse_args()
    ranks: list[subprocess.Popen[bytes]] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: _signal(ranks, received))  # a stop is the ranks' to carry out
    ranks += start(options.devices.split(","), options.master_port, options.arguments)
    sys.exit(wait(ranks))


if __name__ == "__main__":
    main()
