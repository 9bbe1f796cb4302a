"""The command line `skyreels`: a thin layer, every verb is a function elsewhere first.

Exit codes: 0 done, 1 failed, 2 wrong usage. Commands that print data take `--json`; progress goes to stderr.
"""

import sys

from skyreels_platform.cli.app import app
from skyreels_platform.errors import SkyreelsError

__all__ = ["app", "main"]


def main() -> None:
    """Entry point: errors that we raise on purpose are one sentence, not a traceback."""
    try:
        app()
    except SkyreelsError as error:
        print(f"skyreels: {error}", file=sys.stderr)
        sys.exit(1)
