"""The draw that a step ends with does not depend on when a broken clip was found."""

import random

import pytest

from model.buckets import BucketSampler
from model.draws import Draws

NUM_STEPS = 50


def test_a_step_that_is_taken_uses_its_own_draw_alone():
    draws = Draws(lambda at: [f"clip_{at}"], NUM_STEPS)
    assert next(draws.tries(7)) == 7


def test_sound_data_are_tried_again_before_others():
    draws = Draws(lambda at: [f"clip_{at}"], NUM_STEPS)
    assert list(draws.tries(7)) == [7, 7, 57, 107]


def test_broken_data_are_not_tried_again_and_passed_over_ever_after():
    draws = Draws(lambda at: [f"clip_{at % 3}"], NUM_STEPS)  # 7: clip_1, 57: clip_0, 107: clip_2
    tries = draws.tries(7)
    assert next(tries) == 7
    draws.learn(["clip_1", "clip_0"])
    assert next(tries) == 107
    assert next(draws.tries(7)) == 107
    assert next(draws.tries(8)) == 8


@pytest.mark.parametrize("seed", range(5))
def test_what_is_drawn_in_the_end_does_not_depend_on_what_was_known(seed: int):
    chance = random.Random(seed)
    sampler = BucketSampler([clip % 2 for clip in range(12)], 4, seed)
    broken = set(chance.sample(range(12), 5))  # more than TRIES

    def drawn(draws: Draws, step: int) -> int:
        for at in draws.tries(step):
            if not (found := broken & set(sampler.batch(at))):
                return at
            draws.learn([str(min(found))])  # the rest of them another time
        raise AssertionError("no try was sound")

    def fresh() -> Draws:
        return Draws(lambda at: map(str, sampler.batch(at)), NUM_STEPS)

    whole, resumed = fresh(), fresh()
    ours = [drawn(whole, step) for step in range(NUM_STEPS)]
    theirs = [drawn(resumed, step) for step in range(NUM_STEPS // 2, NUM_STEPS)]
    assert ours[NUM_STEPS // 2 :] == theirs
    assert any(at >= NUM_STEPS for at in ours)


def test_data_without_a_sound_draw_give_up():
    draws = Draws(lambda at: ["clip_0"], NUM_STEPS)
    tries = draws.tries(3)
    assert next(tries) == 3
    draws.learn(["clip_0"])
    assert list(tries) == [], "nothing is computed that is known to be broken"
    assert list(draws.tries(4)) == []
