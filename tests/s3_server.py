"""Fixtures: an S3 protocol server on loopback, and one home per kind of storage so that both pass the same tests."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resources.object_store import lance_options, open_store
from skyreels_platform.ledger.ledger import Ledger
from skyreels_platform.store import Store


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Any]:
    """A client of the server, which has no buckets."""
    import logging

    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else one line per request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    yield boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    server.stop()


@pytest.fixture
def s3_uri(s3_server: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """s3://bucket of this test alone; standard AWS variables point at the server."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_server.meta.endpoint_url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    bucket = "test-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]  # moto keeps buckets between tests
    s3_server.create_bucket(Bucket=bucket)
    return f"s3://{bucket}"


@pytest.fixture(params=["local", "s3"])
def home_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty home: a folder, then a prefix of a bucket."""
    if request.param == "local":
        return str(tmp_path / "home")
    return request.getfixturevalue("s3_uri") + "/some/home"


@pytest.fixture
def store(home_uri: str) -> Store:
    """The empty store of a home."""
    return open_store(f"{home_uri}/store")


@pytest.fixture
def ledger(home_uri: str) -> Ledger:
    """The empty ledger of a home."""
    return Ledger(f"{home_uri}/ledger", lance_options(home_uri))
