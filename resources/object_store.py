"""Open a store by its URI. For s3:// the client comes from dagster-aws, imported here and not above: that import takes 2.4 s."""

import os
from pathlib import Path

from skyreels_platform.errors import MissingExtraError, SourceError
from skyreels_platform.store import LocalStore, S3Store, Store


def open_store(uri: str | Path, *, endpoint_url: str | None = None, region: str | None = None) -> Store:
    """A folder (absolute or relative path) or s3://bucket/prefix as a store.

    Endpoint, region and credentials come from the arguments or else from AWS' usual environment variables and files
    (AWS_ENDPOINT_URL, AWS_DEFAULT_REGION, AWS_PROFILE, ...). Raises SourceError on any other scheme.
    """
    text = str(uri)
    if "://" not in text:
        return LocalStore(text)
    scheme, _, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise SourceError(f"{text!r}: give a local folder or s3://bucket/prefix")

    try:
        from dagster_aws.s3 import S3Resource
    except ModuleNotFoundError as error:
        raise MissingExtraError("dagster-aws", "aws", f"{text!r}") from error

    client = S3Resource(endpoint_url=endpoint_url or os.environ.get("AWS_ENDPOINT_URL"), region_name=region).get_client()
    return S3Store(client, bucket, prefix)


def lance_options(uri: str | Path, *, endpoint_url: str | None = None, region: str | None = None) -> dict[str, str] | None:
    """What Lance and LanceDB need as `storage_options` to reach the same place as `open_store`; None for a local folder."""
    if not str(uri).startswith("s3://"):
        return None
    endpoint = endpoint_url or os.environ.get("AWS_ENDPOINT_URL")
    region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    options = {"aws_region": region} if region else {}
    if endpoint:
        options |= {"aws_endpoint": endpoint, "allow_http": str(endpoint.startswith("http://")).lower()}
    return options
