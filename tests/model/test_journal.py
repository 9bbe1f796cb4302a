"""Journals: what a kill leaves is cut back, so that the finished file equals that of an uninterrupted run."""

from pathlib import Path

import pytest

from model.journal import Journal, read_lines


def write(path: Path, start: int, stop: int) -> None:
    journal = Journal(path, start)
    for step in range(start, stop):
        journal.write(step=step, loss=1 / (step + 3))
    journal.close()


@pytest.mark.parametrize("killed_after", [3, 4, 7])
def test_a_continued_journal_equals_an_uninterrupted_one(killed_after: int, tmp_path: Path):
    write(tmp_path / "whole", 0, 8)
    write(tmp_path / "killed", 0, killed_after)
    with (tmp_path / "killed").open("a") as file:
        file.write('{"step": 7, "lo')  # a line that was being written
    write(tmp_path / "killed", 3, 8)
    assert (tmp_path / "killed").read_bytes() == (tmp_path / "whole").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["killed", "whole"]


def test_a_half_written_line_is_not_read(tmp_path: Path):
    path = tmp_path / "journal"
    path.write_text('{"step": 0}\n{"step": 1')
    assert read_lines(path) == [{"step": 0}]
    path.write_text('{"step"')
    assert read_lines(path) == []
    assert read_lines(tmp_path / "none") == []


def test_lines_are_visible_at_once(tmp_path: Path):
    journal = Journal(tmp_path / "journal", 0)
    journal.write(step=0, clips=["a", "b"])
    assert read_lines(tmp_path / "journal") == [{"step": 0, "clips": ["a", "b"]}]
    journal.close()


def test_a_journal_with_steps_missing_is_refused(tmp_path: Path):
    write(tmp_path / "journal", 0, 2)
    with pytest.raises(ValueError, match="holds 2 steps before step 5"):
        Journal(tmp_path / "journal", 5)
    assert len(read_lines(tmp_path / "journal")) == 2, "a refusal must not cut the file"


def test_starting_over_empties_it(tmp_path: Path):
    write(tmp_path / "journal", 0, 4)
    write(tmp_path / "journal", 0, 0)
    assert (tmp_path / "journal").read_text() == ""
