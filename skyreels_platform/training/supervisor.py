"""Training that heals itself: a fault is found, its cause named and written down, and the run goes on from its newest good checkpoint.

    fault (training.watch) -> incident in <run>/incidents.jsonl -> slots that are left (training.ranks) -> the next start

What a restart cannot mend ends the stage with one error: a wrong setting, a full disk, the same step failing again and again, or more
restarts than allowed without a new checkpoint between them. A rank that dies or stops twice loses its slot, and the run goes on with the
largest number of ranks that divides the batch. On the same number of ranks the result is the undisturbed one, to the bit on CPU.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model.checkpoint import find_checkpoints
from model.heartbeat import END, FAILED, forget_ranks, next_attempt, read_ranks
from model.journal import INCIDENTS, LOSSES, read_lines, record_incident
from model.spec import TrainSpec
from skyreels_platform.errors import TrainingError
from skyreels_platform.processes import GroupError, log_tail, run_group
from skyreels_platform.recipe import LaunchSettings
from skyreels_platform.training.launch import deepspeed_command, launch_environment
from skyreels_platform.training.ranks import Slot, answers, ranks_that_fit, read_slots, slots_left
from skyreels_platform.training.watch import Fault, RankFault, Watch

NAME = "train"
_SAME_STEP = 3  # faults at one step that end the stage
_SAME_ERROR = 2  # the same for a rank's own exception: nothing random is left in a step that is repeated
_SLOT_GONE = 2  # deaths on one slot, without a new checkpoint between them, after which it is not used
_LONGEST_WAIT_S = 60.0


def train_supervised(
    spec_path: Path, spec: TrainSpec, launch: LaunchSettings, *, env: Mapping[str, str], on_poll: Callable[[], None],
) -> None:  # fmt: skip
    """Run DeepSpeed to the end of a stage through as many starts as it takes. Raises TrainingError with the end of the log."""
    Supervisor(spec_path, spec, launch, {**launch_environment(launch), **env}, on_poll).run()


class Supervisor:
    """The starts of one run."""

    def __init__(
        self, spec_path: Path, spec: TrainSpec, launch: LaunchSettings, env: Mapping[str, str], on_poll: Callable[[], None]
    ) -> None:  # fmt: skip
        self._spec_path, self._spec, self._launch, self._env, self._on_poll = spec_path, spec, launch, env, on_poll
        self._run_dir = Path(spec.run_dir)
        self._slots = read_slots(launch.hostfile, launch.num_ranks)
        self._gone: set[Slot] = set()
        self._restarts = 0
        self._at_step: Counter[int | None] = Counter()
        self._deaths: Counter[Slot] = Counter()
        self._saved = self._newest()
        self._open: tuple[int, float] | None = None  # step that must be passed again, when the run last moved before the fault
        self._watch = Watch(self._run_dir, launch)

    def run(self) -> None:
        """Start, and start again, until the command ends well."""
        slots = self._slots
        if self._fit(slots) != len(slots):
            raise TrainingError(f"batch_size {self._spec.batch_size} does not divide among {len(slots)} ranks; set a multiple")
        self._note_interruption()
        while True:
            try:
                self._start(slots)
                return
            except RankFault as error:
                slots = self._after(error.fault, slots, error)
            except GroupError as error:
                slots = self._after(self._watch.diagnose(error), slots, error)

    def _start(self, slots: list[Slot]) -> None:
        forget_ranks(self._run_dir)
        attempt = next_attempt(self._run_dir)
        self._watch = watch = Watch(self._run_dir, self._launch)

        def poll() -> None:
            watch.look()
            if self._open and (watch.step or 0) > self._open[0]:
                self._close()
            self._on_poll()

        try:
            run_group(deepspeed_command(self._spec_path, self._launch, slots, attempt), folder=self._run_dir, name=NAME,
                      grace_s=self._launch.grace_s, env=self._env, on_poll=poll)  # fmt: skip
            self._close()
        finally:
            next_attempt(self._run_dir)

    def _after(self, fault: Fault, slots: list[Slot], error: TrainingError) -> list[Slot]:
        """Write a fault down; the slots of the next start, or the error that ends the stage."""
        if (saved := self._newest()) > self._saved:
            self._saved, self._restarts = saved, 0
            self._at_step.clear()
            self._deaths.clear()
        step = max(fault.step or 0, len(read_lines(self._run_dir / LOSSES)), saved)  # a rank's last beat may be a step old
        self._restarts += 1
        self._at_step[step] += 1
        if fault.kind in ("dead_rank", "hung_rank") and fault.rank is not None:
            slot = slots[fault.rank]
            self._deaths[slot] += 1
            if self._deaths[slot] >= _SLOT_GONE and self._fit([other for other in slots if other != slot]):
                self._gone.add(slot)
        left = slots_left(self._slots, self._gone, answers)
        chosen = left[: self._fit(left)]
        if end := self._reason_to_end(fault, step, chosen):
            self._record(fault, step, f"ended: {end}")
            forget_ranks(self._run_dir)  # the next supervisor need not wonder about them
            log = self._run_dir / f"{NAME}.log"
            raise TrainingError(
                f"{self._spec.stage}: {fault.kind} at step {step}: {fault.detail}\n{end}; what happened before stands in "
                f"{self._run_dir / INCIDENTS}; {log} ends with:\n{log_tail(log)}"
            ) from error
        fewer = "" if len(chosen) == len(slots) else f" instead of {len(slots)}"
        self._record(fault, step, f"restarted from step {saved} with {len(chosen)} ranks{fewer}")
        self._open = (max(step, self._open[0]), self._open[1]) if self._open else (step, self._watch.moved)
        time.sleep(min(_LONGEST_WAIT_S, self._launch.restart_wait_s * 2 ** (self._restarts - 1)))
        return chosen

    def _reason_to_end(self, fault: Fault, step: int, chosen: list[Slot]) -> str | None:
        if fault.is_final:
            return "a restart would meet the same"
        same = self._at_step[step]
        if same >= (_SAME_ERROR if fault.kind in ("failed_rank", "non_finite") else _SAME_STEP):
            return f"step {step} has failed {same} times in a row"
        if self._restarts > self._launch.max_restarts:
            return f"launch.max_restarts = {self._launch.max_restarts} restarts brought no new checkpoint"
        if not chosen:
            return f"no slot is left of {', '.join(map(str, self._slots))}"
        return None

    def _note_interruption(self) -> None:
        """An earlier supervisor that was killed could write nothing down."""
        cut = [state for state in read_ranks(self._run_dir) if state["phase"] not in (END, FAILED)]
        if cut:
            step = max(self._newest(), len(read_lines(self._run_dir / LOSSES)))
            record_incident(self._run_dir, "interrupted", step=step, action=f"resumed from step {self._newest()}",
                            detail=f"the process that supervised {len(cut)} ranks was killed or cancelled")  # fmt: skip

    def _record(self, fault: Fault, step: int, action: str) -> None:
        record_incident(self._run_dir, fault.kind, rank=fault.rank, step=step, action=action, detail=fault.detail)

    def _close(self) -> None:
        """The run has passed the step of its last fault again."""
        if self._open:
            step, since = self._open
            self._open = None
            record_incident(self._run_dir, "recovered", step=step, action="went on", seconds_lost=time.monotonic() - since)

    def _newest(self) -> int:
        found = find_checkpoints(self._run_dir)
        return found[-1].step if found else 0

    def _fit(self, slots: list[Slot]) -> int:
        spec = self._spec
        return ranks_that_fit(len(slots), spec.batch_size, group=spec.sequence_parallel, micro_batches=spec.micro_batches)


def incidents_of(run_dir: Path) -> list[dict[str, Any]]:
    """A run's incidents; the time that a recovery took stands in the first of those that it closed, zero in the others."""
    found: list[dict[str, Any]] = []
    for line in read_lines(run_dir / INCIDENTS):
        if line["kind"] != "recovered":
            found.append(dict(line))
            continue
        unsettled = [incident for incident in found if incident["seconds_lost"] is None]
        for number, incident in enumerate(unsettled):
            incident["seconds_lost"] = 0.0 if number else line["seconds_lost"]
    return found
