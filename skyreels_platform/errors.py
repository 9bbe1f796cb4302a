"""Every error that a person can cause or must act on.

    SkyreelsError                 base: the command line prints it as one sentence, exit code 1
    |-- RecipeError               a recipe file that cannot be used (file, key, value, remedy)
    |-- SourceError               footage that cannot be read or listed
    |   `-- DecodeError           a file whose pictures cannot be decoded, or whose decoder had to be killed
    |-- LedgerError               a table, id or manifest that is missing or contradicts another
    |-- GateError                 data that a gate holds back
    |-- TrainingError             a training or generation process that failed
    |-- CaptionerError            a captioner or writer that cannot be reached or started
    `-- MissingExtraError         a package of an extra that is not installed

Messages name the value, the place and the remedy. Assertions are for our own invariants only.
"""


class SkyreelsError(Exception):
    """Base of all errors that this platform raises on purpose."""


class RecipeError(SkyreelsError):
    """A recipe that cannot be used; the message names file, key, value and remedy."""


class SourceError(SkyreelsError):
    """Footage that cannot be listed, read or stored."""


class DecodeError(SourceError):
    """A file whose pictures cannot be decoded within the limits."""


class LedgerError(SkyreelsError):
    """A table, id or manifest that is missing, unknown or contradicts another."""


class GateError(SkyreelsError):
    """Data that a gate holds back from the next step."""


class TrainingError(SkyreelsError):
    """A training or generation process that did not end well."""


class CaptionerError(SkyreelsError):
    """A language model server that cannot be reached or started, or has no answer."""


class MissingExtraError(SkyreelsError):
    """A package that an optional extra would install is absent."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: "
            f"pip install -c constraints.txt -e '.[{extra}]'"
        )
