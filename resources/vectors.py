"""The vectors of a home as a Dagster resource: fingerprints and their index, in LanceDB."""

from typing import TYPE_CHECKING

import dagster as dg

from resources.object_store import lance_options
from skyreels_platform.home import Home

if TYPE_CHECKING:
    from skyreels_platform.curation.fingerprint_store import FingerprintStore


class VectorsResource(dg.ConfigurableResource):
    """Opens the database under the home on first use; cheap to make."""

    uri: str = ""
    """Folder or s3://bucket/prefix; empty for `vectors` under the home."""

    def open(self, home: Home) -> "FingerprintStore":
        """The store of this home's fingerprints."""
        return open_vectors(self.uri or f"{home.uri}/vectors")


def open_vectors(uri: str) -> "FingerprintStore":
    """The same without Dagster, for the command line and for worker processes."""
    from skyreels_platform.curation.fingerprint_store import FingerprintStore

    return FingerprintStore(uri=uri, storage_options=lance_options(uri))
