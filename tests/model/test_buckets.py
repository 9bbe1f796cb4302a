"""The frame rate rule, bucket assignment, and the sampler's promises: every clip, exact proportions, exact resume."""

import random
from collections import Counter
from fractions import Fraction

import pytest

from model.buckets import ASPECTS, Bucket, BucketSampler, DualAxisBuckets, JointSampler, NoBucketError, normalize_fps, rank_slice


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (16, 16), (17, 16), (18, 16), (20, 16), (32, 16), (33, 16), (64, 16),
        (24, 24), (25, 24), (26, 24), (29.97, 24), (30, 24), (72, 24), (120, 24), (119.88, 24), (240, 24),
        (48, 24), (50, 24), (60, 24), (59.94, 24), (100, 24),
        (23.976, 24), (23.98, 24), (23.97, 24), (47.952, 24),
        (Fraction(24000, 1001), 24), (Fraction(30000, 1001), 24), (Fraction(60000, 1001), 24), (Fraction(25, 1), 24),
        (15.9995, 16), (24.0003, 24), (47.9999, 24),
        (23.5, 16), (24.5, 24),
    ],
)  # fmt: skip
def test_frame_rates(fps, expected):
    assert normalize_fps(fps) == expected


def test_whole_rates_follow_the_formula():
    for fps in range(16, 500):
        remainders = {target: fps % target for target in (16, 24)}
        best = [target for target, remainder in remainders.items() if remainder == min(remainders.values())]
        assert normalize_fps(fps) == max(best)


@pytest.mark.parametrize("fps", [15, 15.9, 15.99, 12.5, 1, 0, -24, float("nan"), float("inf")])
def test_too_low_or_impossible_rates_are_refused(fps):
    with pytest.raises(ValueError, match=r"at least 16|must be a positive number"):
        normalize_fps(fps)


def buckets(resolution=720, multiple=16, frame_counts=(1, 33, 97), **options):
    return DualAxisBuckets(resolution=resolution, multiple=multiple, frame_counts=frame_counts, **options)


def test_the_published_540p_and_720p_sizes_are_among_the_buckets():
    assert buckets(resolution=720).assign(1920, 1080, 97, 24) == Bucket(num_frames=97, height=544, width=960, train_fps=24)
    assert (720, 1280) in buckets(resolution=960).sizes


@pytest.mark.parametrize(("resolution", "multiple"), [(256, 16), (360, 16), (720, 16), (960, 16), (256, 8)])
def test_sizes_keep_area_and_aspect(resolution, multiple):
    sizes = buckets(resolution=resolution, multiple=multiple).sizes
    assert len(sizes) == len(ASPECTS)
    for (height, width), (wide, high) in zip(sizes, ASPECTS, strict=True):
        assert height % multiple == 0
        assert width % multiple == 0
        assert height * width == pytest.approx(resolution**2, rel=0.1)
        assert width / height == pytest.approx(wide / high, rel=0.1)
        assert (width, height) in sizes  # portrait mirrors landscape


def test_coarse_sizes_that_coincide_are_one_class():
    sizes = buckets(resolution=32, multiple=16).sizes
    assert len(sizes) == len(set(sizes)) < len(ASPECTS)
    assert (32, 32) in sizes
    assert all(height >= 16 and width >= 16 for height, width in sizes)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1920, 1080, (544, 960)),
        (1080, 1920, (960, 544)),
        (640, 480, (624, 832)),
        (500, 500, (720, 720)),
        (2560, 1080, (464, 1104)),
        (4000, 100, (464, 1104)),
    ],
)
def test_nearest_aspect(width, height, expected):
    bucket = buckets().assign(width, height, 97, 24)
    assert (bucket.height, bucket.width) == expected


@pytest.mark.parametrize(
    ("num_source_frames", "fps", "expected"),
    [
        (97, 24, (97, 24)),
        (97, 23.976, (97, 24)),
        (97, Fraction(24000, 1001), (97, 24)),
        (97, 24.0003, (97, 24)),
        (96, 24, (33, 24)),
        (97, 25, (33, 24)),  # 96 / 25 s hold 93 frames at 24 fps
        (101, 25, (97, 24)),
        (121, 30, (97, 24)),
        (121, 29.97, (97, 24)),
        (120, 30, (33, 24)),
        (193, 32, (97, 16)),
        (192, 32, (33, 16)),
        (1, 24, (1, 24)),
        (1, 0, (1, 24)),  # images have no rate
        (100_000, 60, (97, 24)),
    ],
)
def test_longest_duration_that_fits(num_source_frames, fps, expected):
    bucket = buckets().assign(1280, 720, num_source_frames, fps)
    assert (bucket.num_frames, bucket.train_fps) == expected


@pytest.mark.parametrize("fps", [16, 18, 23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60, 120])
def test_a_clip_is_never_sampled_beyond_its_last_frame(fps):
    for num_source_frames in range(2, 400, 7):
        try:
            bucket = buckets(frame_counts=range(1, 402, 4)).assign(64, 64, num_source_frames, fps)
        except NoBucketError:
            continue
        last_sample, last_frame = (bucket.num_frames - 1) / bucket.train_fps, (num_source_frames - 1) / fps
        assert last_sample <= last_frame + 1e-6
        assert last_frame < last_sample + 4.01 / bucket.train_fps + num_source_frames / fps * 0.0011  # and uses what is there


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((64, 64, 20, 24), "too short: 20 frames at 24 fps give 20 at 24 fps, the shortest bucket needs 33"),
        ((64, 64, 1, 24), "an image, and these buckets take video only"),
        ((64, 64, 97, 12), "at least 16"),
        ((64, 64, 97, 0), "positive number"),
        ((0, 64, 97, 24), "no picture"),
        ((64, 64, 0, 24), "no picture"),
    ],
)
def test_a_clip_without_a_bucket_has_a_reason(arguments, reason):
    with pytest.raises(NoBucketError, match=reason):
        buckets(frame_counts=(33, 97)).assign(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_counts": (32,)}, "frame count 32.*33"),
        ({"frame_counts": (0,)}, "frame count 0.*example 1"),
        ({"frame_counts": ()}, "at least one"),
        ({"aspects": ()}, "at least one"),
        ({"resolution": 8}, "resolution is 8"),
        ({"multiple": 0}, "multiple 0"),
        ({"keep": {49: 0.5}}, r"keep is \{49: 0.5\}"),
        ({"keep": {33: 1.5}}, r"keep is \{33: 1.5\}"),
        ({"train_fps": (24, 25)}, r"training rates \[25\]"),
    ],
)
def test_impossible_buckets_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        buckets(**options)


def test_a_film_never_becomes_an_image_and_an_image_never_a_film():
    with pytest.raises(NoBucketError, match="too short: 32 frames"):
        buckets(frame_counts=(1, 33)).assign(64, 64, 32, 24)
    with pytest.raises(NoBucketError, match="a video, and these buckets take images only"):
        buckets(frame_counts=(1,)).assign(64, 64, 97, 24)
    assert buckets(frame_counts=(1, 33)).assign(64, 64, 1, 24).num_frames == 1


@pytest.mark.parametrize(("fps", "fits"), [(24, True), (23.976, True), (30, True), (60, True), (16, False), (18, False), (32, False)])
def test_buckets_of_one_rate_take_what_normalizes_to_it(fps: float, fits: bool):
    only_24 = buckets(train_fps=(24,))
    if fits:
        assert only_24.assign(64, 64, 500, fps).train_fps == 24
    else:
        with pytest.raises(NoBucketError, match="trains at 16, and these buckets take 24 alone"):
            only_24.assign(64, 64, 500, fps)
    assert only_24.assign(64, 64, 1, 0).num_frames == 1, "an image has no rate"


def test_a_keep_probability_sends_its_share_to_the_next_shorter_duration():
    chosen = buckets(keep={97: 0.3, 33: 0.5})
    counts = Counter()
    reasons = set()
    for number in range(4000):
        try:
            counts[chosen.assign(64, 64, 97, 24, key=f"shot_{number}").num_frames] += 1
        except NoBucketError as error:
            reasons.add(str(error))
            counts[0] += 1
    assert reasons == {"left out by chance: the buckets of [33, 97] frames keep [0.5, 0.3]"}
    assert counts[97] / 4000 == pytest.approx(0.3, abs=0.03)
    assert counts[33] / 4000 == pytest.approx(0.35, abs=0.03)
    assert counts[0] / 4000 == pytest.approx(0.35, abs=0.03)
    fates = [buckets(keep={97: 0.3}).assign(64, 64, 97, 24, key=f"shot_{number}") for number in range(50)]
    assert fates == [buckets(keep={97: 0.3}).assign(64, 64, 97, 24, key=f"shot_{number}") for number in range(50)]


MIXED = ["a"] * 40 + ["b"] * 23 + ["c"] * 9 + ["d"] * 3 + ["e"]


def shuffled(bucket_of):
    return random.Random(0).sample(bucket_of, len(bucket_of))


def test_a_batch_holds_one_bucket():
    bucket_of = shuffled(MIXED)
    sampler = BucketSampler(bucket_of, 8, seed=1)
    for step in range(200):
        batch = sampler.batch(step)
        assert len(batch) == 8
        assert all(isinstance(clip, int) for clip in batch)
        assert len({bucket_of[clip] for clip in batch}) == 1


def test_a_batch_depends_on_seed_and_step_alone():
    bucket_of = shuffled(MIXED)
    steps = list(range(300))
    sampler = BucketSampler(bucket_of, 8, seed=1)
    in_order = [sampler.batch(step) for step in steps]
    assert [BucketSampler(bucket_of, 8, seed=1).batch(step) for step in steps[::37]] == in_order[::37]  # a resume at any step
    sampler = BucketSampler(bucket_of, 8, seed=1)
    for step in random.Random(0).sample(steps, len(steps)):
        assert sampler.batch(step) == in_order[step]
    assert [BucketSampler(bucket_of, 8, seed=2).batch(step) for step in steps[:20]] != in_order[:20]


def test_the_order_is_frozen():
    """A change of these numbers breaks the exact resume of every run in progress."""
    sampler = BucketSampler(["a", "b", "a", "a", "b", "a", "a"], 2, seed=7)
    assert [sampler.batch(step) for step in range(7)] == [[6, 2], [0, 5], [3, 3], [4, 1], [4, 1], [0, 5], [2, 6]]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8, 16, 100])
def test_every_clip_comes_once_per_pass(batch_size):
    bucket_of = shuffled(MIXED)
    clips_of = {key: {clip for clip, other in enumerate(bucket_of) if other == key} for key in set(bucket_of)}
    sampler = BucketSampler(bucket_of, batch_size, seed=3)
    streams = {key: [] for key in clips_of}
    for step in range(20 * len(bucket_of) // batch_size + 100):
        batch = sampler.batch(step)
        streams[bucket_of[batch[0]]].extend(batch)
    for key, stream in streams.items():
        count = len(clips_of[key])
        assert len(stream) >= 10 * count  # nobody starves
        passes = [stream[start : start + count] for start in range(0, len(stream) - count + 1, count)]
        assert all(set(one) == clips_of[key] for one in passes)
        if count > 8:
            assert len({tuple(one) for one in passes}) > 1  # each pass is shuffled anew


SIZES = {"a": 8, "b": 12, "c": 4, "d": 20, "e": 8}


def test_each_bucket_has_its_own_batch_size_and_every_clip_still_comes_once_per_pass():
    bucket_of = shuffled(MIXED)
    sampler = BucketSampler(bucket_of, SIZES, seed=3)
    streams = {key: [] for key in SIZES}
    for number in range(400):
        batch = sampler.batch(number)
        (key,) = {bucket_of[clip] for clip in batch}
        assert len(batch) == SIZES[key]
        streams[key].extend(batch)
    assert [BucketSampler(bucket_of, SIZES, seed=3).batch(number) for number in range(0, 400, 41)] == [
        sampler.batch(number) for number in range(0, 400, 41)
    ]
    passes = {key: len(stream) / bucket_of.count(key) for key, stream in streams.items()}
    assert min(passes.values()) > 20
    for key, stream in streams.items():
        count = bucket_of.count(key)
        assert abs(passes[key] / passes["a"] - 1) < 0.25, "a larger batch comes less often, so no clip is favoured"
        assert all(len(set(stream[start : start + count])) == count for start in range(0, len(stream) - count + 1, count))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_images_come_in_their_share_and_evenly(share: float):
    bucket_of = shuffled(MIXED)
    is_image = [key in "de" for key in bucket_of]
    sampler = JointSampler(bucket_of, is_image, SIZES, seed=2, image_share=share)
    kinds = []
    for number in range(400):
        batch = sampler.batch(number)
        assert len({bucket_of[clip] for clip in batch}) == 1
        kinds.append(is_image[batch[0]])
    assert sum(kinds) == share * 400
    for start in range(0, 400, 20):
        assert sum(kinds[start : start + 20]) == share * 20
    late = JointSampler(bucket_of, is_image, SIZES, seed=2, image_share=share)
    assert [late.batch(number) for number in (399, 7, 123)] == [sampler.batch(number) for number in (399, 7, 123)]


def test_one_kind_alone_is_drawn_whatever_the_share():
    films = JointSampler(["a", "b"] * 5, [False] * 10, 2, seed=0, image_share=0.3)
    images = JointSampler(["a", "b"] * 5, [True] * 10, 2, seed=0, image_share=0.3)
    plain = BucketSampler(["a", "b"] * 5, 2, seed=0)
    for number in range(30):
        assert films.batch(number) == images.batch(number) == plain.batch(number)
    with pytest.raises(ValueError, match="0 clips"):
        JointSampler([], [], 2, seed=0, image_share=0.3)
    with pytest.raises(ValueError, match="batch number is -1"):
        films.batch(-1)


def test_buckets_come_in_proportion_to_their_clips():
    bucket_of = shuffled(MIXED)
    batch_size = 8
    sampler = BucketSampler(bucket_of, batch_size, seed=5)
    drawn = Counter()
    for step in range(1, 2001):
        drawn[bucket_of[sampler.batch(step - 1)[0]]] += 1
        if step % 100 == 0:
            for key, count in Counter(bucket_of).items():
                share = step * count / len(bucket_of)
                epoch = count / batch_size + 1  # within an epoch the order is free, so a bucket may be that far ahead or behind
                assert abs(drawn[key] - share) <= epoch + 2


def test_small_buckets_do_not_all_come_at_once():
    bucket_of = [clip // 2 for clip in range(64)]  # 32 buckets of 2 clips, batch 8: each is due every 4 epochs
    sampler = BucketSampler(bucket_of, 8, seed=0)
    assert sampler._first_batch(4) == 32
    sizes = [sampler._first_batch(epoch + 1) - sampler._first_batch(epoch) for epoch in range(4)]
    assert max(sizes) < 20


def test_a_bucket_smaller_than_the_batch_repeats_its_clips():
    sampler = BucketSampler(["a", "a", "a"], 8, seed=0)
    for step in range(10):
        assert sorted(Counter(sampler.batch(step)).values()) in ([2, 3, 3], [2, 2, 4])
    assert Counter(clip for step in range(3) for clip in sampler.batch(step)) == {0: 8, 1: 8, 2: 8}


def test_memory_stays_bounded():
    sampler = BucketSampler(shuffled(MIXED), 8, seed=1)
    for step in range(500):
        sampler.batch(step)
    held = sum(len(clips) for _, clips in sampler._passes.values())
    assert held <= len(MIXED)  # one pass per bucket


def test_a_late_step_costs_no_walk_through_the_earlier_ones():
    sampler = BucketSampler([clip % 7 for clip in range(20_000)], 64, seed=1)
    assert len(sampler.batch(10**9)) == 64


def test_samplers_refuse_nonsense():
    with pytest.raises(ValueError, match="0 clips"):
        BucketSampler([], 8, seed=0)
    with pytest.raises(ValueError, match="batches of 0"):
        BucketSampler(["a"], 0, seed=0)
    with pytest.raises(ValueError, match="batch number is -1"):
        BucketSampler(["a"], 1, seed=0).batch(-1)


def test_ranks_share_a_batch():
    batch = [5, 3, 9, 1, 7, 2]
    for world in (1, 2, 3, 6):
        parts = [rank_slice(batch, rank, world) for rank in range(world)]
        assert [clip for part in parts for clip in part] == batch
        assert {len(part) for part in parts} == {6 // world}
    with pytest.raises(ValueError, match="6 clips does not divide over 4 ranks; use a batch size of 4 or 8"):
        rank_slice(batch, 0, 4)
    with pytest.raises(ValueError, match="rank is 2"):
        rank_slice(batch, 2, 2)
