"""When each latent frame is denoised, and in which windows a long film is made.

Three notions stay apart here, because they are independent choices: the schedule block (frames that share one noise level while
sampling), the attention block (the model's mask, not in this module) and the window (frames that one forward pass sees).

Noise levels follow the code convention: sigma = 1 is noise, 0 is data. A video of 4k + 1 pixel frames has k + 1 latent frames:
the causal codec keeps the first frame alone and folds every later four into one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

NUM_TRAIN_TIMESTEPS = 1000
_SIGMA_MAX = float(torch.tensor(0.999, dtype=torch.float32))  # the reference reads it back from a float32 table


def flow_sigmas(num_steps: int, shift: float) -> torch.Tensor:
    """Noise levels of a sampling run: (num_steps + 1,) float32, falling from below 1 to exactly 0 (code: FlowUniPC).

    linspace(0.999, 0, num_steps + 1) without its end, warped by shift * s / (1 + (shift - 1) * s), then 0.
    """
    return torch.cat([_warped_grid(num_steps, shift), torch.zeros(1, dtype=torch.float64)]).float()


def flow_timesteps(num_steps: int, shift: float) -> torch.Tensor:
    """What the model is told at each step: (num_steps,) int64 in 0..999, int(1000 * sigma) in float64 as the code does."""
    return (_warped_grid(num_steps, shift) * NUM_TRAIN_TIMESTEPS).long()


def _warped_grid(num_steps: int, shift: float) -> torch.Tensor:
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; it must be at least 1")
    return shift_sigma(torch.linspace(_SIGMA_MAX, 0.0, num_steps + 1, dtype=torch.float64)[:-1], shift)


def shift_sigma(sigma: torch.Tensor, shift: float) -> torch.Tensor:
    """Warp noise levels in 0..1 towards noise (shift > 1) or data (shift < 1); 0 and 1 stay. Shift must be positive."""
    if not (shift > 0 and math.isfinite(shift)):
        raise ValueError(f"shift is {shift}; it must be a positive number (1 changes nothing)")
    return shift * sigma / (1 + (shift - 1) * sigma)


@dataclass(frozen=True, kw_only=True)
class StepMatrix:
    """The order in which a window's frames are denoised; one row is one forward pass of the model."""

    index: torch.Tensor
    """(rows, frames) int64: denoising steps that the frame has completed before this row, 0..num_steps."""
    update: torch.Tensor
    """(rows, frames) bool: this row takes the frame one step further."""


def step_matrix(partition: Sequence[int], num_steps: int, ar_step: int, num_ready: int = 0) -> StepMatrix:
    """Asynchronous denoising of blocks of latent frames (code: generate_timestep_matrix, in closed form).

    Every block starts `ar_step` rows after the block before it and then advances one step per row: 0 denoises all frames
    together, num_steps or more finishes a block before the next one starts. The first `num_ready` frames are given: they are
    finished in every row. A row looks up a frame's noise level as flow_sigmas(...)[index].

    partition: block sizes in latent frames, for example (5, 5, 5, 5, 5) or (1, 4, 4, 4); they need not be equal.
    Rows: num_steps + (active blocks - 1) * min(ar_step, num_steps).
    Raises ValueError when num_ready cuts a block or leaves nothing to denoise.
    """
    _check_steps(partition, num_steps, ar_step)
    num_given_blocks = _whole_blocks(partition, num_ready)
    num_active = len(partition) - num_given_blocks
    delay = min(ar_step, num_steps)
    first_row = torch.arange(num_active) * delay  # of each active block
    rows = torch.arange(num_steps + (num_active - 1) * delay)
    steps_taken = rows[:, None] - first_row[None, :]
    given = torch.full((len(rows), num_given_blocks), num_steps)
    index = torch.cat([given, steps_taken.clamp(0, num_steps)], dim=1)
    update = torch.cat([torch.zeros_like(given, dtype=torch.bool), (steps_taken >= 0) & (steps_taken < num_steps)], dim=1)
    sizes = torch.tensor(list(partition))
    return StepMatrix(index=index.repeat_interleave(sizes, dim=1), update=update.repeat_interleave(sizes, dim=1))


def _check_steps(partition: Sequence[int], num_steps: int, ar_step: int) -> None:
    if not partition or any(size < 1 for size in partition):
        raise ValueError(f"partition is {list(partition)}; give block sizes of at least one latent frame, for example [5, 5, 5]")
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; it must be at least 1")
    if ar_step < 0:
        raise ValueError(f"ar_step is {ar_step}; it must be 0 (all blocks together) or more")


def _whole_blocks(partition: Sequence[int], num_ready: int) -> int:
    """Blocks that num_ready leading frames fill exactly, with at least one block left to denoise."""
    legal, total = [], 0
    for size in partition:
        legal.append(total)
        total += size
    if num_ready not in legal:
        raise ValueError(
            f"num_ready is {num_ready}; with blocks {list(partition)} the given frames must be whole blocks and leave one to "
            f"denoise: {', '.join(map(str, legal))}. A given image needs a first block of 1, for example [1, 4, 4]"
        )
    return legal.index(num_ready)


def partition_frames(num_frames: int, block_size: int, *, num_given: int = 0) -> tuple[int, ...]:
    """Cut latent frames into schedule blocks of `block_size`; frames that are given first form a block of their own.

    (25, 5) -> (5, 5, 5, 5, 5); (25, 4, num_given=1) -> (1, 4, 4, 4, 4, 4, 4).
    Raises ValueError naming legal block sizes and frame counts when the frames to denoise do not divide.
    """
    if block_size < 1 or not 0 <= num_given < num_frames:
        raise ValueError(
            f"cannot cut {num_frames} latent frames, {num_given} of them given, into blocks of {block_size}: "
            "blocks need at least one frame, and at least one frame must be left to denoise"
        )
    num_new = num_frames - num_given
    if num_new % block_size:
        below = num_given + num_new // block_size * block_size
        counts = [str(count) for count in (below, below + block_size) if count > num_given]
        raise ValueError(
            f"{num_new} latent frames to denoise ({num_frames} less {num_given} given) do not divide into blocks of "
            f"{block_size}: use a block size of {_listed(_divisors(num_new))}, or {_listed(counts)} latent frames"
        )
    return ((num_given,) if num_given else ()) + (block_size,) * (num_new // block_size)


@dataclass(frozen=True, kw_only=True)
class Window:
    """One forward window of a film. Pixel frames unless the name says latents."""

    start: int
    """Frame of the film at which the window begins, its history included."""
    num_frames: int
    """Length, 4k + 1, history included."""
    num_history: int
    """Leading frames that exist already and are encoded again: 0 or 4k + 1."""

    @property
    def num_new(self) -> int:
        """Frames that the window adds to the film: what is left of its decoded frames after the history is dropped."""
        return self.num_frames - self.num_history

    @property
    def num_latents(self) -> int:
        """Latent frames of the window, history included."""
        return latent_frames(self.num_frames)

    @property
    def num_history_latents(self) -> int:
        """Latent frames of the history; 0 without one."""
        return latent_frames(self.num_history) if self.num_history else 0

    def partition(self, block_size: int) -> tuple[int, ...]:
        """Schedule blocks of the window, the history as one block: what step_matrix takes, with num_ready=num_history_latents."""
        return partition_frames(self.num_latents, block_size, num_given=self.num_history_latents)


def latent_frames(num_frames: int) -> int:
    """Latent frames of a clip of 4k + 1 pixel frames."""
    if num_frames < 1 or num_frames % 4 != 1:
        raise ValueError(f"{num_frames} frames: the codec takes 4k + 1; nearest: {_listed(legal_num_frames(num_frames))}")
    return (num_frames - 1) // 4 + 1


def windows(
    num_frames: int, base_num_frames: int, overlap_history: int, *, block_size: int = 1, num_given: int = 0
) -> list[Window]:
    """Windows of the long-video loop (code): each later one starts with the film's last `overlap_history` frames.

    num_frames: length of the whole film, given frames included. base_num_frames: longest window. block_size: schedule block in
    latent frames. num_given: leading frames that exist already: 1 for an image; to extend a video, as many of its last frames
    as it may show (usually overlap_history), and num_frames counts from the first of them.
    All frame counts are pixels and 4k + 1. Only the last window may be shorter than base_num_frames.
    Raises ValueError naming the nearest legal num_frames, or the block sizes that fit the window.
    """
    _check_windows(base_num_frames, overlap_history, num_given)
    legal = legal_num_frames(num_frames, block_size=block_size, num_given=num_given)
    if num_frames not in legal:
        given = f" after {num_given} given" if num_given else ""
        raise ValueError(
            f"num_frames is {num_frames}; with schedule blocks of {block_size} latent frames{given}, "
            f"the nearest legal lengths are {_listed(legal)}"
        )
    if num_frames > base_num_frames:
        _check_base(base_num_frames, overlap_history, block_size, num_given)
    plan = [Window(start=0, num_frames=min(num_frames, base_num_frames), num_history=num_given)]
    while (done := plan[-1].start + plan[-1].num_frames) < num_frames:
        start = done - overlap_history
        plan.append(Window(start=start, num_frames=min(num_frames - start, base_num_frames), num_history=overlap_history))
    return plan


def _check_windows(base_num_frames: int, overlap_history: int, num_given: int) -> None:
    lengths = {"base_num_frames": base_num_frames, "overlap_history": overlap_history, "num_given": num_given or 1}
    for name, value in lengths.items():
        if value < 1 or value % 4 != 1:
            raise ValueError(f"{name} is {value}; the codec needs 4k + 1, nearest: {_listed(legal_num_frames(value))}")
    for name, value in (("overlap_history", overlap_history), ("num_given", num_given)):
        if value >= base_num_frames:
            raise ValueError(f"{name} is {value}; it must be shorter than a window, base_num_frames = {base_num_frames}")


def _check_base(base_num_frames: int, overlap_history: int, block_size: int, num_given: int) -> None:
    """A full window must hold whole blocks after its history, the first window as well as the later ones."""
    base = latent_frames(base_num_frames)
    first = base - (latent_frames(num_given) if num_given else 0)
    later = base - latent_frames(overlap_history)
    if first % block_size or later % block_size:
        raise ValueError(
            f"a window of {base_num_frames} frames leaves {first} latent frames to denoise at first and {later} after a history "
            f"of {overlap_history} frames; blocks of {block_size} do not divide both: use a block size of "
            f"{_listed(_divisors(math.gcd(first, later)))}, or another base_num_frames or overlap_history"
        )


def legal_num_frames(num_frames: int, *, block_size: int = 1, num_given: int = 0) -> list[int]:
    """Film lengths next to a wish that `windows` takes: the wish alone if it is legal, else the nearest below (if any) and above.

    Legal are whole schedule blocks of latent frames after the given ones, and at least one block.
    """
    if block_size < 1:
        raise ValueError(f"block_size is {block_size}; it must be at least 1 latent frame")
    stride = 4 * block_size
    shortest = num_given + stride if num_given else stride - 3
    if num_frames <= shortest:
        return [shortest]
    below = shortest + (num_frames - shortest) // stride * stride
    return [below] if below == num_frames else [below, below + stride]


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def _listed(values: Sequence[object]) -> str:
    *head, last = map(str, values)
    return f"{', '.join(head)} or {last}" if head else last
