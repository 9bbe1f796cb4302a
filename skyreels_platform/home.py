"""One home: the ledger, the store and the scratch folder of one deployment, found from SKYREELS_HOME.

    <home>/ledger/   Lance tables
    <home>/store/    latents, checkpoints, films, reports
    <home>/work/     running training jobs and other scratch; always a local folder, `.skyreels/work` for an s3:// home
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from skyreels_platform.ledger.ledger import Ledger
from skyreels_platform.store import Store

DEFAULT_HOME = ".skyreels"

OpenStore = Callable[[str], Store]


@dataclass(frozen=True, kw_only=True)
class Home:
    """What every step reads from and writes to."""

    uri: str
    """Absolute folder or s3://bucket/prefix."""
    ledger: Ledger
    store: Store
    open_store: OpenStore
    """Opens a foreign place, for example the bucket that footage lies in."""
    work: Path
    """Local scratch folder."""

    def fetch(self, key: str) -> Path:
        """A published folder or object as a local path: the stored one itself, or a copy under the scratch folder."""
        local = self.store.local_path(key)
        if local is not None:
            return local
        copy = self.work / "fetched" / key
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            self.store.download(key, copy)
        return copy
