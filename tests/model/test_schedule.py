"""The sampling grid, the asynchronous step matrix and the windows of long films, against the published algorithm and tables."""

import numpy as np
import pytest
import torch

from model.schedule import (
    Window,
    flow_sigmas,
    flow_timesteps,
    legal_num_frames,
    partition_frames,
    shift_sigma,
    step_matrix,
    windows,
)

PUBLISHED_30_STEPS_SHIFT_8 = [
    999, 995, 991, 986, 980, 975, 969, 963, 956, 948, 941, 932, 922, 912, 901,
    888, 874, 859, 841, 822, 799, 773, 743, 708, 666, 615, 551, 470, 363, 216,
]  # fmt: skip


def test_grid_is_the_published_one():
    sigmas = flow_sigmas(30, 8)
    assert sigmas.shape == (31,)
    assert sigmas.dtype == torch.float32
    assert sigmas[-1] == 0
    assert [int(1000 * sigma) for sigma in sigmas[:-1]] == PUBLISHED_30_STEPS_SHIFT_8
    assert flow_timesteps(30, 8).tolist() == PUBLISHED_30_STEPS_SHIFT_8


@pytest.mark.parametrize(("num_steps", "shift"), [(1, 1.0), (4, 5.0), (27, 1.0), (37, 1.0), (50, 8.0), (1000, 3.0)])
def test_grid_equals_the_formula_in_numpy(num_steps, shift):
    base = np.linspace(float(np.float32(0.999)), 0, num_steps + 1)[:-1]
    warped = shift * base / (1 + (shift - 1) * base)
    np.testing.assert_allclose(flow_sigmas(num_steps, shift).numpy(), np.append(warped, 0).astype(np.float32), rtol=1e-6)
    assert flow_timesteps(num_steps, shift).tolist() == (warped * 1000).astype(np.int64).tolist()
    assert (flow_sigmas(num_steps, shift).diff() < 0).all()


def test_shift_keeps_the_ends_and_moves_the_middle_towards_noise():
    sigma = torch.tensor([0.0, 0.5, 1.0])
    assert shift_sigma(sigma, 1.0).tolist() == [0.0, 0.5, 1.0]
    assert shift_sigma(sigma, 3.0).tolist() == [0.0, 0.75, 1.0]


@pytest.mark.parametrize(("num_steps", "shift"), [(0, 1.0), (-3, 1.0), (9, 0.0), (9, -1.0), (9, float("nan")), (9, float("inf"))])
def test_impossible_grids_are_refused(num_steps, shift):
    with pytest.raises(ValueError, match=r"num_steps is|shift is"):
        flow_sigmas(num_steps, shift)


def published_algorithm(num_blocks, num_steps, ar_step, num_ready_blocks):
    """generate_timestep_matrix row by row, in the reference's own counter: 0 not started, 1..N in step k, N + 1 finished."""
    finished = num_steps + 1
    previous = [finished] * num_ready_blocks + [0] * (num_blocks - num_ready_blocks)
    indices, updates = [], []
    while not all(counter >= num_steps for counter in previous):
        row = []
        for block in range(num_blocks):
            if block == 0 or previous[block - 1] >= num_steps:
                row.append(previous[block] + 1)
            else:
                row.append(row[block - 1] - ar_step)
        row = [min(max(counter, 0), finished) for counter in row]
        updates.append([new != old and new != finished for new, old in zip(row, previous, strict=True)])
        indices.append([max(counter - 1, 0) for counter in row])  # steps completed before the row
        previous = row
    return indices, updates


@pytest.mark.parametrize("num_steps", [1, 3, 30])
@pytest.mark.parametrize("ar_step", [0, 1, 2, 5, 29, 30, 45])
def test_step_matrix_equals_the_published_algorithm(num_steps, ar_step):
    for num_blocks, num_ready in [(1, 0), (2, 0), (5, 0), (5, 1), (5, 4), (25, 0)]:
        matrix = step_matrix([1] * num_blocks, num_steps, ar_step, num_ready)
        index, update = published_algorithm(num_blocks, num_steps, ar_step, num_ready)
        assert matrix.index.tolist() == index
        assert matrix.update.tolist() == update


def test_step_matrix_of_50_rows():
    matrix = step_matrix([5] * 5, 30, 5)
    assert matrix.index.shape == matrix.update.shape == (50, 25)
    assert matrix.index.dtype == torch.int64
    assert matrix.update.dtype == torch.bool
    timesteps = torch.cat([flow_timesteps(30, 8), torch.zeros(1, dtype=torch.int64)])[matrix.index]
    published = {7: [969, 995, 999, 999, 999], 21: [799, 888, 941, 975, 999], 35: [0, 216, 666, 822, 901]}
    for row, values in published.items():  # rows counted from 1, one value per block of 5 frames
        assert timesteps[row - 1].tolist() == [value for value in values for _ in range(5)]


@pytest.mark.parametrize(
    ("block", "ar_step", "num_ready", "rows"),
    [(5, 0, 0, 30), (5, 5, 0, 50), (5, 5, 5, 45), (1, 1, 0, 54), (1, 5, 0, 150), (1, 30, 0, 750)],
)
def test_row_counts_of_the_published_table(block, ar_step, num_ready, rows):
    assert len(step_matrix([block] * (25 // block), 30, ar_step, num_ready).index) == rows


@pytest.mark.parametrize("partition", [[1], [1, 4, 4, 4], [5, 5, 5], [3, 1, 2]])
@pytest.mark.parametrize("ar_step", [0, 2, 7, 9])
def test_every_active_frame_takes_every_step_once_in_order(partition, ar_step):
    num_steps = 7
    starts = [sum(partition[:block]) for block in range(len(partition))]
    for ready_blocks, num_ready in enumerate(starts):
        matrix = step_matrix(partition, num_steps, ar_step, num_ready)
        active = len(partition) - ready_blocks
        assert matrix.index.shape == (num_steps + (active - 1) * min(ar_step, num_steps), sum(partition))
        assert not matrix.update[:, :num_ready].any()
        assert (matrix.index[:, :num_ready] == num_steps).all()
        for frame in range(num_ready, sum(partition)):
            rows = matrix.update[:, frame]
            assert matrix.index[rows, frame].tolist() == list(range(num_steps))
        assert (matrix.index.diff(dim=0) >= 0).all()  # frames only get cleaner
        assert (matrix.index.diff(dim=1) <= 0).all()  # earlier frames are never noisier
        completed = matrix.index[-1] + matrix.update[-1]
        assert (completed == num_steps).all()
        assert matrix.update.any(dim=1).all()  # no forward pass for nothing


def test_blocks_share_one_schedule():
    matrix = step_matrix([1, 4, 4], 6, 2, 1)
    assert torch.equal(matrix.index[:, 1], matrix.index[:, 4])
    assert not torch.equal(matrix.index[:, 4], matrix.index[:, 5])


@pytest.mark.parametrize("num_ready", [1, 3, 10, 15, -5])
def test_given_frames_must_be_whole_blocks(num_ready):
    with pytest.raises(ValueError, match=rf"num_ready is {num_ready}.* 0, 5\. "):
        step_matrix([5, 5], 30, 5, num_ready)


@pytest.mark.parametrize(
    ("partition", "num_steps", "ar_step", "message"),
    [([], 30, 5, "partition"), ([5, 0], 30, 5, "partition"), ([5, 5], 0, 5, "num_steps"), ([5, 5], 30, -1, "ar_step")],
)
def test_impossible_schedules_are_refused(partition, num_steps, ar_step, message):
    with pytest.raises(ValueError, match=message):
        step_matrix(partition, num_steps, ar_step)


def test_partition_of_frames():
    assert partition_frames(25, 5) == (5, 5, 5, 5, 5)
    assert partition_frames(25, 4, num_given=1) == (1, 4, 4, 4, 4, 4, 4)
    assert partition_frames(1, 1) == (1,)


def test_a_partition_that_does_not_divide_names_what_would():
    with pytest.raises(ValueError, match=r"27 latent frames.*block size of 1, 3, 9 or 27, or 25 or 30 latent frames"):
        partition_frames(27, 5)
    with pytest.raises(ValueError, match=r"24 latent frames to denoise.*1, 2, 3, 4, 6, 8, 12 or 24, or 21 or 26 latent"):
        partition_frames(25, 5, num_given=1)
    with pytest.raises(ValueError, match=r"or 5 latent frames"):
        partition_frames(3, 5)
    with pytest.raises(ValueError, match="at least one"):
        partition_frames(5, 0)
    with pytest.raises(ValueError, match="at least one"):
        partition_frames(5, 5, num_given=5)


@pytest.mark.parametrize(
    ("num_frames", "count", "last_latents"),
    [(177, 2, 25), (257, 3, 25), (377, 5, 15), (737, 9, 25), (1457, 18, 25), (237, 3, 20)],
)
def test_canonical_lengths_of_the_long_video_loop(num_frames, count, last_latents):
    plan = windows(num_frames, 97, 17, block_size=5)
    assert len(plan) == count
    assert plan[-1].num_latents == last_latents
    base, overlap, total = 25, 5, (num_frames - 1) // 4 + 1
    assert count == 1 + (total - base - 1) // (base - overlap) + 1  # the published formula


@pytest.mark.parametrize(
    ("base", "overlap", "block_size", "num_given"),
    [(97, 17, 5, 0), (97, 17, 4, 1), (121, 37, 1, 0), (97, 17, 5, 17), (9, 1, 1, 5)],
)
def test_windows_tile_the_film(base, overlap, block_size, num_given):
    step = 4 * block_size
    for num_frames in range(legal_num_frames(1, block_size=block_size, num_given=num_given)[0], 5 * base, step):
        plan = windows(num_frames, base, overlap, block_size=block_size, num_given=num_given)
        assert plan[0].start == 0
        assert plan[0].num_history == num_given
        done = 0
        for position, window in enumerate(plan):
            assert window.num_frames % 4 == 1
            assert window.num_frames <= base
            assert window.start + window.num_history == (done or num_given)
            assert window.num_new == 4 * (window.num_latents - window.num_history_latents) - (3 if window.num_history == 0 else 0)
            assert sum(window.partition(block_size)) == window.num_latents
            matrix = step_matrix(window.partition(block_size), 3, 1, window.num_history_latents)
            assert matrix.index.shape[1] == window.num_latents
            if position < len(plan) - 1:
                assert window.num_frames == base
            done = window.start + window.num_frames
        assert done == num_frames


def test_a_window_in_latents():
    assert windows(177, 97, 17)[1] == Window(start=80, num_frames=97, num_history=17)
    first, second = windows(177, 97, 17)
    assert (first.num_latents, first.num_history_latents, first.num_new) == (25, 0, 97)
    assert (second.num_latents, second.num_history_latents, second.num_new) == (25, 5, 80)
    assert second.partition(5) == (5, 5, 5, 5, 5)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((240, 97, 17), {"block_size": 5}, "240.*237 or 257"),
        ((240, 97, 17), {}, "240.*237 or 241"),
        ((5, 97, 17), {"block_size": 5}, "5; .*lengths are 17"),
        ((100, 97, 17), {"block_size": 4, "num_given": 1}, "after 1 given.*97 or 113"),
        ((17, 97, 17), {"num_given": 17}, "lengths are 21"),
        ((177, 96, 17), {}, "base_num_frames is 96.*93 or 97"),
        ((177, 97, 16), {}, "overlap_history is 16.*13 or 17"),
        ((177, 97, 0), {}, "overlap_history is 0.*1"),
        ((177, 97, 97), {}, "overlap_history is 97.*shorter than"),
        ((177, 97, 17), {"num_given": 2}, "num_given is 2"),
        ((177, 97, 17), {"num_given": 101}, "num_given is 101.*shorter than"),
        ((177, 97, 17), {"block_size": 0}, "block_size is 0"),
        ((221, 97, 17), {"block_size": 5, "num_given": 1}, "24 latent frames.*20 after.*1, 2 or 4, or another"),
    ],
)
def test_impossible_windows_name_the_nearest_legal_value(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        windows(*arguments, **options)


def test_legal_lengths():
    assert legal_num_frames(97, block_size=5) == [97]
    assert legal_num_frames(240, block_size=5) == [237, 257]
    assert legal_num_frames(-3) == [1]
    assert legal_num_frames(1, num_given=17) == [21]
