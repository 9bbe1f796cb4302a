"""Each rule of the boundary score, on boundaries made by hand."""

import pytest

from skyreels_platform.curation.scoring import BoundaryScore, Span, Truth, reports_of, score
from skyreels_platform.curation.shots import Shot


def counts(value: BoundaryScore) -> tuple[int, int, int]:
    return value.num_found, value.num_false, value.num_gradual_found


@pytest.mark.parametrize(("report", "found"), [(98, 0), (99, 1), (100, 1), (101, 1), (102, 0)])
def test_a_cut_is_found_within_one_frame(report: int, found: int) -> None:
    assert counts(score([report], Truth(cuts=(100,)))) == (found, 1 - found, 0)


def test_one_report_finds_one_cut_and_one_cut_needs_one_report() -> None:
    assert counts(score([100], Truth(cuts=(100, 101)))) == (1, 0, 0)
    assert counts(score([99, 101], Truth(cuts=(100,)))) == (1, 1, 0)


def test_close_cuts_are_paired_so_that_most_are_found() -> None:
    # 101 lies within a frame of both; only the pairing 99-100, 101-102 finds both.
    assert counts(score([101, 99], Truth(cuts=(100, 102)))) == (2, 0, 0)
    # The gap could take either cut; the plain report only the first.
    assert counts(score([(90, 110), 100], Truth(cuts=(100, 108)))) == (2, 0, 0)


@pytest.mark.parametrize(("gap", "found"), [((90, 100), 1), ((100, 110), 1), ((95, 105), 1), ((102, 110), 0), ((90, 98), 0)])
def test_a_gap_is_one_report_and_finds_a_cut_in_it(gap: tuple[int, int], found: int) -> None:
    assert counts(score([gap], Truth(cuts=(100,)))) == (found, 1 - found, 0)
    assert score([gap], Truth(cuts=(97, 103))).num_found <= 1


@pytest.mark.parametrize(("report", "is_false"), [(46, True), (47, False), (63, False), (64, True)])
def test_a_report_in_a_span_is_not_false_within_three_frames(report: int, is_false: bool) -> None:
    silent = Span(start=50, end=60, is_change=False)
    assert counts(score([report], Truth(cuts=(), spans=(silent,)))) == (0, int(is_false), 0)


def test_a_gap_must_lie_inside_the_span_with_both_ends() -> None:
    truth = Truth(cuts=(), spans=(Span(start=50, end=60, is_change=True),))
    assert counts(score([(47, 63)], truth)) == (0, 0, 1)
    assert counts(score([(46, 60)], truth)) == (0, 1, 0)
    assert counts(score([(50, 64)], truth)) == (0, 1, 0)


def test_spans_that_touch_can_be_taken_out_by_one_gap() -> None:
    out, back = Span(start=50, end=60, is_change=False), Span(start=62, end=72, is_change=True)
    assert counts(score([(50, 72)], Truth(cuts=(), spans=(out, back)))) == (0, 0, 1)
    far = Span(start=80, end=90, is_change=True)
    assert counts(score([(50, 90)], Truth(cuts=(), spans=(out, far)))) == (0, 1, 0)


def test_hard_cuts_take_their_reports_first() -> None:
    truth = Truth(cuts=(60,), spans=(Span(start=50, end=60, is_change=True),))
    assert counts(score([60], truth)) == (1, 0, 0)
    assert counts(score([60, 55], truth)) == (1, 0, 1)


def test_a_span_is_found_once_and_by_a_report_of_its_own() -> None:
    truth = Truth(cuts=(), spans=(Span(start=50, end=60, is_change=True), Span(start=62, end=70, is_change=True)))
    assert counts(score([52, 55], truth)) == (0, 0, 1)
    assert counts(score([61], truth)) == (0, 0, 1)
    assert counts(score([61, 66], truth)) == (0, 0, 2)


def test_numbers_add_up_over_films() -> None:
    total = score([10, 50], Truth(cuts=(10, 20))) + score([7], Truth(cuts=(7,), spans=(Span(start=30, end=40, is_change=True),)))
    assert (total.num_cuts, total.num_found, total.num_false, total.num_gradual) == (3, 2, 1, 1)
    assert total.precision == pytest.approx(2 / 3)
    assert total.recall == pytest.approx(2 / 3)
    assert total.f1 == pytest.approx(2 / 3)
    assert total.gradual_recall == 0
    assert score([], Truth(cuts=())).f1 == 1


def test_truth_is_read_from_annotations() -> None:
    truth = Truth.from_json({
        "file": "a.mp4", "cuts": [30, 10],
        "gradual": [
            {"type": "dissolve", "start": 50, "end": 60, "boundary": 55},
            {"type": "fade_out_to_black", "start": 20, "end": 25, "boundary": None, "note": "dark"},
        ],
    })
    assert truth.cuts == (10, 30)
    assert truth.spans == (Span(start=20, end=25, is_change=False), Span(start=50, end=60, is_change=True))


def test_shots_report_the_gaps_between_them() -> None:
    spans = [(0, 10), (10, 20), (25, 30)]
    shots = [Shot(start_frame=a, end_frame=b, start_s=a / 25, end_s=b / 25, transition_in="cut") for a, b in spans]
    assert reports_of(shots) == [(10, 10), (20, 25)]
