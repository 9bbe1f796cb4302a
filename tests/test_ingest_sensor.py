"""New footage by itself: what a watched place gives, look by look, and what the sensor and the schedule ask Dagster for."""

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.partitions import INGEST_BATCHES
from jobs.ingest import footage_watch, nightly_ingest, watch_from
from resources.home import HomeResource
from resources.object_store import lance_options, open_store
from skyreels_platform.errors import SkyreelsError, SourceError
from skyreels_platform.footage import list_part
from skyreels_platform.ledger.ledger import Ledger
from skyreels_platform.watch import DAY_S, Cursor, Look, Watch, look, sweep, unread_batches

pytest_plugins = ("tests.s3_server",)

LONG_AGO_S = 1e9  # Unix time of files that were complete long before anybody looked


class Place:
    """A watched folder whose files have the times that a test says, and a clock of its own."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder / "in"
        self.folder.mkdir()
        self.ledger = Ledger(folder / "ledger")
        self.watch = Watch(uri=str(self.folder), **changes)
        self.cursor = Cursor()
        self.now_s = time.time() + 3600  # so that files made by the test are old

    def write(self, *names: str, data: bytes = b"1") -> None:
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data)

    def look(self, seconds: float = 60) -> Look:
        self.now_s += seconds
        found = look(self.watch, self.cursor, ledger=self.ledger, open_store=open_store, now_s=self.now_s)
        self.cursor = Cursor.from_json(found.cursor.to_json())
        assert self.cursor == found.cursor
        return found

    def looks(self, number: int) -> list[tuple[str | None, int]]:
        return [(found.batch, found.num_files) for found in (self.look() for _ in range(number))]

    def files(self, batch: str) -> list[str]:
        uris = self.ledger.rows("files", {"batch": batch})["uri"].to_pylist()
        return [uri.removeprefix(f"{self.folder}/") for uri in uris]


# ---- listing -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_parts_follow_one_another_and_give_every_file_once(tmp_path: Path, limit: int):
    place = Place(tmp_path)
    names = ["a/b.mp4", "a/z/c.mp4", "a b.mp4", "a.mp4", "a0/x.mp4", "b.mp4", "c/d/e/f.mp4", "ü.mp4"]
    place.write(*names, ".hidden.mp4", ".cache/x.mp4", "a.txt", "a/b.json", "b.mp4.part", "new.CRDOWNLOAD")
    found, after = [], ""
    while part := list_part(str(place.folder), after=after, limit=limit, open_store=open_store):
        found += [one.name for one in part]
        after = part[-1].name
    assert found == sorted(names)


def test_links_make_no_circle_and_a_missing_folder_is_refused(tmp_path: Path):
    place = Place(tmp_path)
    place.write("a.mp4", "b/c.mp4")
    (place.folder / "b" / "up").symlink_to(place.folder)
    assert [one.name for one in list_part(str(place.folder), after="", limit=99, open_store=open_store)] == ["a.mp4", "b/c.mp4"]
    with pytest.raises(SourceError, match="no such folder to watch"):
        list_part(str(tmp_path / "absent"), after="", limit=9, open_store=open_store)


def test_a_prefix_is_listed_in_parts(s3_uri: str):
    store = open_store(s3_uri)
    for name in ("in/a.mp4", "in/b/c.mp4", "in/b.json", "in/.h.mp4", "in2/z.mp4", "in/d.mp4"):
        store.write_bytes(name, b"123")
    first = list_part(f"{s3_uri}/in", after="", limit=2, open_store=open_store)
    assert [one.name for one in first] == ["a.mp4", "b/c.mp4"]
    assert [one.name for one in list_part(f"{s3_uri}/in", after="b/c.mp4", limit=2, open_store=open_store)] == ["d.mp4"]
    assert list_part(f"{s3_uri}/empty", after="", limit=2, open_store=open_store) == []
    place = Ledger(f"{s3_uri}/home/ledger", lance_options(s3_uri))
    cursor = Cursor()
    batches = []
    for now_s in (4e9, 4e9 + 60, 4e9 + 120):
        found = look(Watch(uri=f"{s3_uri}/in"), cursor, ledger=place, open_store=open_store, now_s=now_s)
        cursor = found.cursor
        batches.append((found.batch, found.num_files))
    assert batches == [(None, 0), ("b000001", 3), (None, 0)]


# ---- looks ---------------------------------------------------------------------------------------------------------------------


def test_files_are_taken_when_two_looks_saw_them_alike(tmp_path: Path):
    place = Place(tmp_path)
    assert place.looks(1) == [(None, 0)]
    place.write("a.mp4", "b.mp4")
    assert place.looks(3) == [(None, 0), ("b000001", 2), (None, 0)]
    assert place.files("b000001") == ["a.mp4", "b.mp4"]


def test_a_file_that_grows_or_is_young_waits(tmp_path: Path):
    place = Place(tmp_path)
    place.write("a.mp4", "growing.mp4")
    for size in (2, 3):
        assert place.look().batch is None
        place.write("growing.mp4", data=b"1" * size)
    assert place.looks(2) == [(None, 0), ("b000001", 2)]

    place.write("young.mp4")
    place.now_s = time.time()
    assert [place.look(seconds).batch for seconds in (1, 1, 60)] == [None, None, "b000002"]


def test_patience_ends_when_a_file_never_settles(tmp_path: Path):
    place = Place(tmp_path, patience_s=300)
    place.write("a.mp4")
    batches = []
    for size in range(2, 12):
        place.write("endless.mp4", data=b"1" * size)
        batches.append(place.look().batch)
    assert [batch for batch in batches if batch] == ["b000001"]
    assert place.files("b000001") == ["a.mp4"]
    assert ("b000002", 1) in place.looks(3), "it ended after all"


def test_batches_are_bounded_and_nothing_is_lost_between_parts(tmp_path: Path):
    place = Place(tmp_path, batch_size=3, list_limit=5)
    names = [f"{number:02d}.mp4" for number in range(14)]
    place.write(*names)
    found = [one for one in place.looks(20) if one[0]]
    assert all(number <= 3 for _, number in found)
    assert sorted(itertools.chain.from_iterable(place.files(str(batch)) for batch, _ in found)) == names
    assert all(one.num_listed <= 5 for one in (place.look() for _ in range(4)))


def test_a_late_file_with_an_earlier_name_is_found(tmp_path: Path):
    place = Place(tmp_path, batch_size=2, list_limit=2)
    place.write("m.mp4", "n.mp4", "o.mp4", "p.mp4")
    assert place.looks(2)[-1][0] == "b000001"
    place.write("a.mp4")  # its name lies before the cursor
    found = [batch for batch, _ in place.looks(12) if batch]
    assert sorted(itertools.chain.from_iterable(map(place.files, found))) == ["a.mp4", "o.mp4", "p.mp4"]


def test_look_back_takes_files_that_keep_an_older_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Inside the look-back at once; older ones with the sweep that holds everything against the ledger, once a day."""
    import skyreels_platform.footage as footage

    changed: dict[str, float] = {}
    real: Callable[..., float | None] = footage._changed_s
    monkeypatch.setattr(footage, "_changed_s", lambda entry: changed.get(entry.name, real(entry)))
    place = Place(tmp_path, look_back_s=600)
    place.write("a.mp4")
    place.looks(4)
    changed |= {"late.mp4": place.now_s - 500, "stale.mp4": place.now_s - 5000}
    place.write("late.mp4", "stale.mp4")
    assert place.looks(4) == [(None, 0), ("b000002", 1), (None, 0), (None, 0)]
    assert place.files("b000002") == ["late.mp4"]
    place.now_s += DAY_S
    assert [batch for batch, _ in place.looks(3) if batch] == ["b000003"]
    assert place.files("b000003") == ["stale.mp4"]


def test_an_idle_look_does_not_read_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = Place(tmp_path)
    place.write("a.mp4")
    place.looks(3)
    place.now_s += 2 * 3600
    place.watch = Watch(uri=str(place.folder), look_back_s=60)
    place.looks(1)
    monkeypatch.setattr(Ledger, "rows", lambda *_, **__: pytest.fail("the ledger was read"))
    assert place.looks(2) == [(None, 0), (None, 0)]


def test_a_cursor_stays_small(tmp_path: Path):
    place = Place(tmp_path)
    place.write(*(f"a long name of a file, number {number:05d}.mp4" for number in range(1200)))
    assert place.look().num_waiting == 1000
    assert len(place.cursor.to_json()) < 14_000


def test_a_sweep_takes_everything_old_enough_and_says_when_it_is_not_whole(tmp_path: Path):
    place = Place(tmp_path, batch_size=2, list_limit=3, settle_s=600)
    place.write("a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4")
    first = sweep(place.watch, ledger=place.ledger, open_store=open_store, now_s=place.now_s, max_batches=2)
    assert (first.batches, first.is_whole) == (["b000001", "b000002"], False)
    place.write("f.mp4")
    os.utime(place.folder / "f.mp4", (place.now_s, place.now_s))
    second = sweep(place.watch, ledger=place.ledger, open_store=open_store, now_s=place.now_s)
    assert (second.batches, second.num_waiting, second.is_whole) == (["b000003"], 1, True)
    assert place.files("b000003") == ["e.mp4"]
    assert unread_batches(place.watch, place.ledger) == ["b000001", "b000002", "b000003"]
    assert unread_batches(Watch(uri=str(tmp_path / "i")), place.ledger) == []


# ---- in Dagster ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> HomeResource:
    return HomeResource(uri=str(tmp_path / "home"))


def tick(instance: dg.DagsterInstance, home: HomeResource, cursor: str | None) -> Any:
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        return footage_watch(context, home=home)


def test_the_sensor_registers_adds_the_partition_and_asks_for_a_run(
    tmp_path: Path, home: HomeResource, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"1")
    real = time.time
    with dg.DagsterInstance.ephemeral() as instance:
        assert "SKYREELS_WATCH is not set" in str(tick(instance, home, None).skip_message)
        monkeypatch.setenv("SKYREELS_WATCH", str(folder))
        first = tick(instance, home, None)
        assert not first.run_requests
        assert "1 files listed, 1 new ones wait" in first.skip_reason.skip_message
        monkeypatch.setattr(time, "time", lambda: real() + 120)
        second = tick(instance, home, first.cursor)
        (request,) = second.run_requests
        assert (request.partition_key, request.run_key) == ("b000001", "ingest-b000001")
        assert request.tags["skyreels/batch"] == "b000001"
        (partitions,) = second.dynamic_partitions_requests
        assert (partitions.partitions_def_name, partitions.partition_keys) == (INGEST_BATCHES, ["b000001"])
        # Dagster never got that answer: the next tick asks again
        again = tick(instance, home, first.cursor)
        assert [request.run_key for request in again.run_requests] == ["ingest-b000001"]
        instance.add_dynamic_partitions(INGEST_BATCHES, ["b000001"])
        assert not tick(instance, home, second.cursor).run_requests


def night(context: dg.ScheduleEvaluationContext) -> Any:
    """With the context's own resources: given ones would make a second context, whose instance nothing closes. It is closed when it is
    collected, in some later test, and then makes the storage of an instance that is gone the current one."""
    return nightly_ingest(context)


def test_the_schedule_does_the_same_at_once(tmp_path: Path, home: HomeResource, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "drop"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (folder / name).write_bytes(b"1")
    monkeypatch.setenv("SKYREELS_WATCH", str(folder))
    monkeypatch.setenv("SKYREELS_WATCH_FILES", "2")
    real = time.time
    resources = {"home": home}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, dg.build_schedule_context(instance, resources=resources) as context:
        assert "3 were changed too recently" in night(context).skip_message
        monkeypatch.setattr(time, "time", lambda: real() + 3600)
        requests = night(context)
        assert [request.partition_key for request in requests] == ["b000001", "b000002"]
        assert instance.get_dynamic_partitions(INGEST_BATCHES) == ["b000001", "b000002"]
        assert "nothing new" in night(context).skip_message


def test_both_start_stopped_and_settings_are_checked():
    assert footage_watch.default_status == dg.DefaultSensorStatus.STOPPED
    assert nightly_ingest.default_status == dg.DefaultScheduleStatus.STOPPED
    assert watch_from({}) is None
    with pytest.raises(SkyreelsError, match="SKYREELS_WATCH_FILES = 'many'"):
        watch_from({"SKYREELS_WATCH": "/x", "SKYREELS_WATCH_FILES": "many"})
    with pytest.raises(SkyreelsError, match="batch_size = 0"):
        watch_from({"SKYREELS_WATCH": "/x", "SKYREELS_WATCH_FILES": "0"})
