"""The home as a Dagster resource: where a deployment keeps everything, local folder or s3:// prefix."""

from pathlib import Path

import dagster as dg

from resources.object_store import lance_options, open_store
from skyreels_platform.home import DEFAULT_HOME, Home
from skyreels_platform.ledger.ledger import Ledger


class HomeResource(dg.ConfigurableResource):
    """Opens the home on first use; cheap to make."""

    uri: str
    """Folder or s3://bucket/prefix."""

    def open(self) -> Home:
        """The home's ledger, store and scratch folder."""
        return open_home(self.uri)


def open_home(uri: str) -> Home:
    """The same without Dagster, for the command line."""
    is_remote = "://" in uri
    root = uri.rstrip("/") if is_remote else str(Path(uri).expanduser().absolute())
    work = Path(DEFAULT_HOME if is_remote else root).absolute() / "work"
    return Home(
        uri=root, ledger=Ledger(f"{root}/ledger", lance_options(root)), store=open_store(f"{root}/store"),
        open_store=open_store, work=work,
    )  # fmt: skip
