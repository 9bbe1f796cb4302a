"""The ledger: atomic replacement, checked rows, no-op repeats, concurrent and killed writers; on disk and on S3."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from skyreels_platform.errors import LedgerError
from skyreels_platform.ledger.dataset import Change, TableFile
from skyreels_platform.ledger.ledger import Ledger
from skyreels_platform.ledger.tables import TABLES, TableSpec

pytest_plugins = ("tests.s3_server",)

ROOT = Path(__file__).resolve().parent.parent.parent


def _shot(batch: str, number: int, **changes: Any) -> dict[str, Any]:
    return {
        "shot_id": f"shot_{batch}_{number:04d}", "source_id": f"src_{batch}", "batch": batch, "start_frame": number,
        "end_frame": number + 1, "start_s": number / 24, "end_s": (number + 1) / 24, "fps_num": 24, "fps_den": 1,
        "transition_in": "cut", "votes": "{}", "provenance": "p1",
    } | changes  # fmt: skip


def _shots(batch: str, num: int, **changes: Any) -> list[dict[str, Any]]:
    return [_shot(batch, number, **changes) for number in range(num)]


def _source(source_id: str, batch: str) -> dict[str, Any]:
    return {"source_id": source_id, "batch": batch, "uri": "/x", "status": "ready", "provenance": "p"}


def test_unwritten_table_is_empty_with_its_schema(ledger: Ledger) -> None:
    assert ledger.rows("scores").schema == TABLES["scores"].schema
    assert ledger.rows("scores", {"batch": "b1"}, ["value", "signal"]).column_names == ["value", "signal"]
    assert ledger.version("scores") == 0
    assert ledger.query("SELECT count(*) AS n FROM scores").to_pylist() == [{"n": 0}]


def test_rows_come_back_in_key_order_and_as_they_were(ledger: Ledger) -> None:
    rows = _shots("b1", 5)
    ledger.replace("shots", "b1", rows[::-1])
    assert ledger.rows("shots").to_pylist() == [{name: row[name] for name in TABLES["shots"].schema.names} for row in rows]
    ledger.replace("verdicts", "256p", [
        {"stage": "256p", "shot_id": "s", "verdict": "fail", "reasons": ["it's dark", "o"], "provenance": "p"}
    ])  # fmt: skip
    assert ledger.rows("verdicts", columns=["reasons"]).to_pylist() == [{"reasons": ["it's dark", "o"]}]


def test_replace_touches_its_partition_only(ledger: Ledger) -> None:
    ledger.replace("shots", "b1", _shots("b1", 4))
    ledger.replace("shots", "b2", _shots("b2", 3))
    ledger.replace("shots", "b1", _shots("b1", 2, transition_in="fade"))
    assert ledger.rows("shots", columns=["batch", "transition_in"]).to_pylist() == [
        *[{"batch": "b1", "transition_in": "fade"}] * 2, *[{"batch": "b2", "transition_in": "cut"}] * 3
    ]  # fmt: skip
    ledger.replace("shots", "b2", [])
    assert set(ledger.rows("shots")["batch"].to_pylist()) == {"b1"}
    ledger.replace("shots", "b1", [])
    assert ledger.rows("shots").num_rows == 0


def test_unchanged_content_makes_no_version(ledger: Ledger) -> None:
    first = ledger.replace("shots", "b1", _shots("b1", 4))
    ledger.replace("shots", "b2", _shots("b2", 4))
    second = ledger.version("shots")
    assert second > first
    assert ledger.replace("shots", "b1", _shots("b1", 4)[::-1]) == second
    assert ledger.replace("shots", "b1", ledger.rows("shots", {"batch": "b1"})) == second
    assert ledger.merge("shots", _shots("b1", 4)[:2]) == second
    assert ledger.version("shots") == second
    assert ledger.replace("shots", "b1", _shots("b1", 4, votes="{} ")) == second + 1


def test_merge_adds_and_updates_by_key(ledger: Ledger) -> None:
    film = {"film_id": "film_1", "checkpoint_id": "c", "prompt": "a", "provenance": "p"}
    for i in range(12):
        ledger.merge("films", [film | {"film_id": f"film_{i}"}])
    ledger.merge("films", [film | {"film_id": "film_3", "prompt": "b"}, film | {"film_id": "film_x"}])
    rows = {row["film_id"]: row["prompt"] for row in ledger.rows("films").to_pylist()}
    assert rows == {**{f"film_{i}": "a" for i in range(12)}, "film_3": "b", "film_x": "a"}
    assert len(_dataset(ledger, "films").get_fragments()) == 1  # small ones were written together


def test_merge_into_a_partitioned_table_keeps_other_rows(ledger: Ledger) -> None:
    ledger.replace("seen", "c1", [_seen("c1", step) for step in range(5)])
    ledger.merge("seen", [_seen("c1", 2, clip_id="new"), _seen("c2", 0)])
    rows = ledger.rows("seen", columns=["checkpoint_id", "step", "clip_id"]).to_pylist()
    assert [(row["checkpoint_id"], row["step"], row["clip_id"]) for row in rows] == [
        ("c1", 0, "k"), ("c1", 1, "k"), ("c1", 2, "new"), ("c1", 3, "k"), ("c1", 4, "k"), ("c2", 0, "k")
    ]  # fmt: skip
    ledger.replace("seen", "c2", [])  # its row shares a fragment with c1's
    assert ledger.rows("seen", {"checkpoint_id": "c1"}).num_rows == 5
    assert ledger.rows("seen").num_rows == 5


def test_a_key_stays_with_the_partition_that_owns_it(ledger: Ledger) -> None:
    ledger.replace("sources", "b1", [_source("src_1", "b1"), _source("src_2", "b1")])
    version = ledger.version("sources")
    for steal in (
        lambda: ledger.replace("sources", "b2", [_source("src_2", "b2"), _source("src_3", "b2")]),
        lambda: ledger.merge("sources", [_source("src_2", "b2")]),
    ):
        with pytest.raises(LedgerError, match="source_id = 'src_2' belongs to batch = 'b1'"):
            steal()
    assert ledger.version("sources") == version
    ledger.replace("sources", "b1", [_source("src_1", "b1")])
    ledger.replace("sources", "b2", [_source("src_2", "b2")])
    assert ledger.rows("sources", {"source_id": "src_2"}, ["batch"]).to_pylist() == [{"batch": "b2"}]


def _scores(batch: str, num: int, first: int = 0) -> list[dict[str, Any]]:
    shots = range(first, first + num)
    return [{"shot_id": f"shot_{batch}_{shot:05d}", "batch": batch, "signal": "luma", "value": 1.0, "provenance": "p"} for shot in shots]


class _Reads:
    """Counts the bytes that Lance reads for the ledger."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._opened: list[Any] = []
        original = TableFile.open

        def opened(file: TableFile) -> Any:
            self._opened.append(original(file))
            return self._opened[-1]

        monkeypatch.setattr(TableFile, "open", opened)

    def of(self, work: Callable[[], Any]) -> int:
        self._opened.clear()
        work()
        return sum(dataset.io_stats_snapshot().read_bytes for dataset in self._opened if dataset is not None)


def test_work_on_one_batch_reads_nothing_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to read or write a batch of the largest table, beside two other batches and beside forty."""
    ledger, reads = Ledger(tmp_path), _Reads(monkeypatch)

    def bytes_read(batch: str) -> list[int]:
        return [
            reads.of(lambda: ledger.merge("scores", _scores(batch, 1500))),
            reads.of(lambda: ledger.merge("scores", _scores(batch, 1500, first=1500))),
            reads.of(lambda: ledger.replace("scores", batch, _scores(batch, 3500))),
            reads.of(lambda: ledger.rows("scores", {"batch": batch}, ["shot_id", "value"])),
        ]

    few = bytes_read("b001")
    for number in range(2, 40):
        ledger.replace("scores", f"b{number:03d}", _scores(f"b{number:03d}", 1500))
    many = bytes_read("b099")
    manifest = max(file.stat().st_size for file in Path(ledger.uri, "scores.lance", "_versions").iterdir())
    assert all(after <= before + 3 * manifest for before, after in zip(few, many, strict=True)), (few, many, manifest)
    whole = reads.of(lambda: ledger.rows("scores", columns=["shot_id", "value"]))
    assert whole > 10 * many[-1], "what is counted is what is read"
    assert ledger.rows("scores", {"batch": "b099"}).num_rows == 3500


def test_many_small_commits_leave_few_files(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for number in range(40):
        ledger.merge("scores", _scores("b1", 1, first=number))
    for number in range(30):
        ledger.replace("gates", f"b{number}", [{"batch": f"b{number}", "gate": "g", "passed": True, "provenance": "p"}])
    assert len(_dataset(ledger, "scores").get_fragments()) <= 8
    assert len(_dataset(ledger, "gates").get_fragments()) <= 6
    assert ledger.rows("scores", {"batch": "b1"}).num_rows == 40
    assert ledger.rows("gates", {"batch": "b17"}, ["batch"]).to_pylist() == [{"batch": "b17"}]
    ledger.replace("gates", "b17", [])  # its row shares a file with others'
    assert ledger.rows("gates").num_rows == 29


def test_a_table_that_does_not_say_what_its_files_hold_is_looked_through_and_says_so_from_then_on(tmp_path: Path) -> None:
    import lance

    ledger = Ledger(tmp_path)
    for batch in ("b1", "b2", "b3"):
        ledger.replace("scores", batch, _scores(batch, 2000))
    dataset = _dataset(ledger, "scores")
    fragments = [part.metadata for part in dataset.get_fragments()]
    bare = lance.LanceOperation.Overwrite(dataset.schema.remove_metadata(), fragments)
    lance.LanceDataset.commit(dataset.uri, bare, read_version=dataset.version)
    assert ledger.rows("scores", {"batch": "b2"}).num_rows == 2000
    ledger.replace("scores", "b2", _scores("b2", 1200))
    assert [ledger.rows("scores", {"batch": batch}).num_rows for batch in ("b1", "b2", "b3")] == [2000, 1200, 2000]
    assert _dataset(ledger, "scores").schema.metadata[b"partitions"].count(b'"b') == 3


def test_only_if_absent_does_not_overwrite(ledger: Ledger) -> None:
    ledger.replace("shots", "b1", _shots("b1", 2), only_if_absent=True)
    ledger.replace("shots", "b1", _shots("b1", 2), only_if_absent=True)  # the same rows: nothing to overwrite
    with pytest.raises(LedgerError, match="already has 2 rows"):
        ledger.replace("shots", "b1", _shots("b1", 3), only_if_absent=True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([_shot("b1", 0, start_fram=3)], "shots has no column 'start_fram'; did you mean 'start_frame'"),
        ([_shot("b1", 0), _shot("b1", 1, start_frame="seven")], "shots.start_frame = 'seven': the column holds int64"),
        ([_shot("b1", 0, start_frame=1.5)], "shots.start_frame = 1.5"),
        ([_shot("b1", 0, start_frame=True)], "shots.start_frame = True"),
        ([_shot("b1", 0, transition_in=4)], "shots.transition_in = 4: the column holds string"),
        ([_shot("b1", 0, start_s=float("nan"))], "shots.start_s = nan"),
        ([_shot("b1", 0), _shot("b1", 1), _shot("b1", 0, end_frame=9)], "2 rows with the key shot_id = 'shot_b1_0000'"),
        ([_shot("b1", 0, shot_id=None)], "shots.shot_id is missing in 1 of 1 rows"),
        ([_shot("b1", 0, provenance=None)], "shots.provenance is missing"),
        ([_shot("b1", 0), _shot("b2", 1)], "shots.batch = 'b2' in a replacement of 'b1'"),
        (pa.table({"shot_id": ["a"], "batch": ["b1"], "provenance": ["p"], "end_frame": ["x"]}), "shots.end_frame holds int64"),
        (pa.table({"shot_id": [7], "batch": ["b1"], "provenance": ["p"]}), "shots.shot_id holds string, not int64"),
        ([_shot("b1", 0, start_frame=2**70)], "shots.start_frame: a value does not fit in int64"),
        ([_shot("b1", 0, votes="\ud800")], "shots.votes: a value does not fit in string"),
        (pa.table({"shot_id": ["a"], "batch": ["b1"], "provenance": ["p"], "wrong": ["x"]}), "shots has no column 'wrong'"),
        (pa.table({"shot_id": ["a"], "batch": ["b1"], "provenance": ["p"], "end_s": [float("nan")]}), "shots.end_s = nan"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path: Path, rows: Any, message: str) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(LedgerError) as caught:
        ledger.replace("shots", "b1", rows)
    assert message in str(caught.value)
    assert ledger.version("shots") == 0


def test_wrong_uses_are_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.replace("shots", "b1", _shots("b1", 1))
    for use, message in (
        (lambda: ledger.rows("shot"), "no table 'shot'; did you mean 'shots'"),
        (lambda: ledger.rows("shots", {"bach": "b1"}), "shots has no column 'bach'; did you mean 'batch'"),
        (lambda: ledger.rows("shots", "nonsense ="), "rows where nonsense ="),
        (lambda: ledger.replace("films", "x", []), "films is not partitioned; use merge"),
        (lambda: ledger.query("SELECT * FROM shot"), "no table 'shot'; did you mean 'shots'"),
        (lambda: ledger.query("SELECT bach FROM shots"), "bach"),
        (lambda: ledger.query("SELEC"), "syntax error"),
        (lambda: ledger.query("SET threads = 1"), "not a SELECT"),
        (lambda: ledger.query("SELECT * FROM read_csv('/etc/passwd')"), "disabled by configuration"),
    ):
        with pytest.raises(LedgerError, match=message):
            use()


def test_a_text_is_not_a_list_of_letters(tmp_path: Path) -> None:
    row = {"stage": "256p", "shot_id": "s", "verdict": "fail", "reasons": "too dark", "provenance": "p"}
    with pytest.raises(LedgerError, match=r"verdicts.reasons = 'too dark': the column holds list"):
        Ledger(tmp_path).replace("verdicts", "256p", [row])


def test_numpy_values_are_values(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.replace("shots", "b1", [_shot("b1", 0, start_frame=np.int32(3), start_s=np.float32(0.5))])
    ledger.replace("gates", "b1", [{"batch": "b1", "gate": "g", "passed": np.bool_(True), "provenance": "p"}])
    assert ledger.rows("shots", columns=["start_frame", "start_s"]).to_pylist() == [{"start_frame": 3, "start_s": 0.5}]
    assert ledger.rows("gates", columns=["passed"]).to_pylist() == [{"passed": True}]


def test_conditions_are_quoted(ledger: Ledger) -> None:
    names = ["it's", 'say "hi"', "100%", "a' OR '1'='1", "\u00fcber \u6620\u753b"]
    ledger.replace("files", "b1", [{"batch": "b1", "uri": name, "status": "listed", "provenance": "p"} for name in names])
    for name in names:
        assert ledger.rows("files", {"uri": name}, ["uri"])["uri"].to_pylist() == [name]
        assert ledger.query("SELECT uri FROM files WHERE uri = $name", {"name": name})["uri"].to_pylist() == [name]
    assert ledger.rows("files", {"uri": names[:2], "batch": "b1", "source_id": None}).num_rows == 2
    assert ledger.rows("files", {"uri": []}).num_rows == 0


def test_queries_join_tables_and_see_every_commit(ledger: Ledger) -> None:
    ledger.replace("shots", "b1", _shots("b1", 3))
    ledger.replace("sources", "b1", [_source("src_b1", "b1")])
    sql = (
        "WITH s AS (SELECT * FROM Shots WHERE start_frame > 0) "
        "SELECT uri, count(*) AS n FROM s JOIN sources USING (source_id) GROUP BY uri"
    )
    assert ledger.query(sql).to_pylist() == [{"uri": "/x", "n": 2}]
    ledger.replace("shots", "b1", _shots("b1", 9))
    assert ledger.query(sql).to_pylist() == [{"uri": "/x", "n": 8}]


def test_columns_that_the_platform_gained_are_null_in_old_tables(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TABLES["gates"]
    schema = spec.schema.remove(spec.schema.get_field_index("reason"))
    old = TableSpec(name=spec.name, grain=spec.grain, key=spec.key, partition=spec.partition, schema=schema)
    with monkeypatch.context() as earlier:
        earlier.setitem(TABLES, "gates", old)
        ledger.replace("gates", "b1", [{"batch": "b1", "gate": "g", "passed": True, "provenance": "p"}])
    assert ledger.rows("gates").to_pylist() == [{"batch": "b1", "gate": "g", "passed": True, "reason": None, "provenance": "p"}]
    assert ledger.query("SELECT count(reason) AS n FROM gates").to_pylist() == [{"n": 0}]
    ledger.replace("gates", "b2", [{"batch": "b2", "gate": "g", "passed": False, "reason": "r", "provenance": "p"}])
    assert ledger.rows("gates", columns=["reason"])["reason"].to_pylist() == [None, "r"]
    monkeypatch.setitem(TABLES, "gates", old)
    with pytest.raises(LedgerError, match=r"stored column 'reason' \(string\) is not one of this version's"):
        ledger.rows("gates")


def test_overtaken_change_is_planned_again(ledger: Ledger) -> None:
    """The trap of optimistic writers: a plan made on an old version must not be applied on top of a newer one."""
    ledger.replace("sources", "b1", [_source("src_1", "b1")])
    file = TableFile(spec=TABLES["sources"], uri=f"{ledger.uri}/sources.lance", storage_options=ledger.storage_options)
    planned_on = []

    def plan(dataset: Any) -> Change | None:
        planned_on.append(dataset.version)
        if len(planned_on) == 1:  # between this plan and its commit another writer gets through
            ledger.replace("sources", "b2", [_source("src_2", "b2")])
        if dataset.count_rows("source_id = 'src_2'"):
            return None
        return Change(drop=set(), add=ledger.rows("sources").slice(0, 0).cast(TABLES["sources"].schema))

    file.swap(plan)
    assert len(planned_on) == 2
    assert planned_on[1] == planned_on[0] + 1
    assert ledger.rows("sources")["source_id"].to_pylist() == ["src_1", "src_2"]


def test_unreachable_s3_is_an_error_and_not_an_empty_table(s3_uri: str) -> None:
    from resources.object_store import lance_options

    ledger = Ledger("s3://nosuchbucket/ledger", {**(lance_options(s3_uri) or {}), "client_max_retries": "0"})
    with pytest.raises(LedgerError, match="check endpoint, credentials and bucket"):
        ledger.rows("shots")


_WRITER = """
import sys
from skyreels_platform.ledger.ledger import Ledger
from resources.object_store import lance_options
home, me, num = sys.argv[1], sys.argv[2], int(sys.argv[3])
ledger = Ledger(home + "/ledger", lance_options(home))
print("go", flush=True)
sys.stdin.readline()
for i in range(num):
    ledger.merge("films", [{"film_id": f"film_{me}_{i}", "prompt": me, "provenance": "p"}])
    ledger.replace("gates", "shared", [
        {"batch": "shared", "gate": f"{me}_{i}_{k}", "passed": True, "provenance": "p"} for k in range(3)])
    ledger.replace("gates", me, [{"batch": me, "gate": f"{i}", "passed": True, "provenance": "p"}])
    ledger.merge("snapshots", [{"snapshot_id": "same", "dataset": me, "num_clips": i, "provenance": "p"}])
"""


def _start(*arguments: str, code: str = _WRITER) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


def test_writers_of_two_processes_lose_nothing(home_uri: str, ledger: Ledger) -> None:
    num = 8
    writers = [_start(home_uri, me, str(num)) for me in ("x", "y")]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in writers:  # both start on tables that do not exist
        _, errors = writer.communicate("\n", timeout=120)
        assert writer.returncode == 0, errors
    films = ledger.rows("films")["film_id"].to_pylist()
    assert films == sorted(f"film_{me}_{i}" for me in "xy" for i in range(num))
    gates = ledger.rows("gates", {"batch": "shared"})["gate"].to_pylist()
    assert len({gate.rsplit("_", 1)[0] for gate in gates}) == 1, "two writers' rows were mixed in one partition"
    assert len(gates) == 3
    assert [row["gate"] for row in ledger.rows("gates", {"batch": ["x", "y"]}).to_pylist()] == [str(num - 1)] * 2
    assert ledger.rows("snapshots").num_rows == 1


_VICTIM = """
import sys
from skyreels_platform.ledger.ledger import Ledger
ledger = Ledger(sys.argv[1])
def rows(stamp):
    row = {"batch": "b1", "source_id": "src", "start_frame": stamp, "provenance": "p"}
    return [row | {"shot_id": f"s{k:05d}"} for k in range(3000)]
both = [rows(int(sys.argv[2])), rows(int(sys.argv[2]) + 1)]
ledger.rows("shots")
print("go", flush=True)
while True:
    for content in both:
        ledger.replace("shots", "b1", content)
"""


def test_killed_writer_leaves_the_old_rows_or_the_new_ones(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    other = _shots("b2", 3)
    ledger.replace("shots", "b2", other)
    for attempt in range(5):
        victim = _start(str(tmp_path), str(attempt * 10), code=_VICTIM)
        assert victim.stdout is not None
        victim.stdout.readline()
        time.sleep(0.01 + 0.043 * attempt)
        os.kill(victim.pid, signal.SIGKILL)
        victim.communicate()
        rows = ledger.rows("shots", {"batch": "b1"})
        assert rows.num_rows in ((0, 3000) if attempt == 0 else (3000,))
        assert len(set(rows["start_frame"].to_pylist())) <= 1
        assert ledger.rows("shots", {"batch": "b2"}).num_rows == 3
        ledger.replace("shots", "b1", [_shot("b1", 0)] if attempt % 2 else rows)  # the next writer is not disturbed
        ledger.replace("shots", "b1", [_shot("b1", k, start_frame=attempt) for k in range(3000)])


def test_old_versions_are_cleaned_up_in_the_background_of_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skyreels_platform.ledger.dataset.CLEAN_EVERY", 4)
    monkeypatch.setattr("skyreels_platform.ledger.dataset.KEEP_VERSIONS_S", 0)
    ledger = Ledger(tmp_path)
    for i in range(12):
        ledger.replace("shots", "b1", _shots("b1", 1, start_frame=i))
    assert len(list((tmp_path / "shots.lance" / "_versions").glob("*.manifest"))) < 8
    assert ledger.rows("shots")["start_frame"].to_pylist() == [11]


def _seen(checkpoint: str, step: int, clip_id: str = "k") -> dict[str, Any]:
    return {"checkpoint_id": checkpoint, "step": step, "position": 0, "clip_id": clip_id, "shot_id": "s", "provenance": "p"}


def _dataset(ledger: Ledger, table: str) -> Any:
    return TableFile(spec=TABLES[table], uri=f"{ledger.uri}/{table}.lance", storage_options=ledger.storage_options).open()
