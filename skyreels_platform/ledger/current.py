"""What each unpartitioned asset stands at: its newest snapshot, latents, checkpoint or film.

Ids are content hashes, so they say nothing about order; this is the pointer that downstream work follows.
"""

from skyreels_platform.errors import LedgerError
from skyreels_platform.ledger.ledger import Ledger
from skyreels_platform.ledger.provenance import provenance


def get_current(ledger: Ledger, name: str) -> str:
    """Id that asset `name` stands at; LedgerError with the command that makes it if there is none."""
    rows = ledger.rows("current", {"name": name}).to_pylist()
    if not rows:
        raise LedgerError(f"{name} has not been made yet; make it with: skyreels run --select {name}")
    return rows[0]["ref"]


def set_current(ledger: Ledger, name: str, ref: str) -> None:
    """Let asset `name` stand at `ref`."""
    ledger.merge("current", [{"name": name, "ref": ref, "provenance": provenance("current-1", {}, [ref])}])
