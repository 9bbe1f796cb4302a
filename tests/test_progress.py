"""Progress in a log, on a terminal, nested, and when the work stops early."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from skyreels_platform import progress
from skyreels_platform.progress import bar, track

ROOT = Path(__file__).resolve().parent.parent


class Clock:
    """Stands in for the module `time`: seconds pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A stderr that says it is a terminal. Called in the test's body: pytest's capturing replaces what a fixture sets."""
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    return stream


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == "", "progress must not touch stdout"
    return captured.err.splitlines()


def test_quick_loop_writes_its_start_and_its_end_only(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(["a", "b", "c"], "ingest")) == ["a", "b", "c"]
    assert lines(capsys) == ["ingest: 0 of 3, started", "ingest: 3 of 3, done after 0.0 s"]


def test_slow_loop_writes_a_line_every_five_seconds_with_an_estimate(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in track(range(1000), "train"):
        clock.now += 0.125
    written = lines(capsys)
    # 10 % is 12.5 s here, so the 5 s rule alone decides: at 5 s, 10 s, ... 125 s
    assert len(written) == 1 + 25 + 1
    assert written[1] == "train: 40 of 1000, 5.0 s, about 2 min left"
    assert written[-1] == "train: 1000 of 1000, done after 2 min"


def test_further_ten_percent_are_shown_before_five_seconds_are_over(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with bar("scores", total=10) as scores:
        for _ in range(10):
            clock.now += 2
            scores.advance()
    assert [line.split(",")[0] for line in lines(capsys)] == [
        "scores: 0 of 10", *(f"scores: {done} of 10" for done in range(1, 11)), "scores: 10 of 10",
    ]  # fmt: skip


def test_no_two_lines_within_a_second(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with bar("scores", total=10) as scores:
        for _ in range(10):
            clock.now += 0.09
            scores.advance()
    assert len(lines(capsys)) == 2


def test_absolute_position_may_fall_back_as_after_a_resume(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with bar("train", total=300) as steps:
        for done in (200, 100):
            clock.now += 6
            steps.to(done, note=f"step {done}")
    assert lines(capsys)[1:] == [
        "train: 200 of 300, 6.0 s, about 3.0 s left (step 200)",
        "train: 100 of 300, 12 s, about 24 s left (step 100)",
        "train: 100 of 300, done after 12 s (step 100)",
    ]


def test_without_a_total_the_count_is_shown_alone(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in track(iter(range(3)), "frames"):
        clock.now += 6
    assert lines(capsys)[1] == "frames: 1, 6.0 s"
    assert list(track(iter(range(3)), "frames", total=3)) == [0, 1, 2]
    assert lines(capsys)[-1].startswith("frames: 3 of 3")


def test_failure_is_not_called_done(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with bar("shots", total=3) as shots:
            shots.advance()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
    assert lines(capsys)[-1] == "shots: 1 of 3, stopped after 0.0 s"


def test_leaving_a_tracked_loop_closes_its_bar(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    items = track(range(3), "shots")
    next(items)
    items.close()
    assert lines(capsys)[-1] == "shots: 0 of 3, left after 0.0 s"


def test_terminal_shows_nested_bars_and_ends_its_display(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    for name in track(["one[1].mp4", "two"], "ingest"):
        with bar(f"probe {name}", total=2) as inner:
            inner.to(2, note="note[x]")
    shown = screen.getvalue()
    assert "probe one[1].mp4" in shown, "square brackets are part of a file name, not markup"
    assert "2/2" in shown
    assert progress._RichBar._display is None
    assert list(track([1], "again")) == [1], "a second display starts after the first has ended"


def test_terminal_display_ends_with_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    with pytest.raises(KeyError), bar("outer", total=1), bar("inner", total=1):
        raise KeyError("x")
    assert progress._RichBar._display is None
    assert "stopped" in screen.getvalue()


def test_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    list(track([1], "ingest"))
    assert screen.getvalue().startswith("ingest: 0 of 1, started\n")


def test_import_is_light() -> None:
    code = "import sys, skyreels_platform.progress; print([name for name in ('rich', 'torch', 'numpy') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
