"""Writes the table of ledger tables in docs/architecture.md from skyreels_platform/ledger/tables.py.

    .venv/bin/python docs/list_tables.py

A test compares the page with what this module writes.
"""

import re
from pathlib import Path

PAGE = Path(__file__).with_name("architecture.md")
_BLOCK = re.compile(r"(<!-- tables: written by docs/list_tables.py -->\n).*?(<!-- end of tables -->)", flags=re.DOTALL)


def table() -> str:
    """Markdown, one line per ledger table."""
    from skyreels_platform.ledger.tables import TABLES

    lines = ["| table | one row is | key | replaced as a whole by |", "|---|---|---|---|"]
    for spec in TABLES.values():
        keys = ", ".join(f"`{name}`" for name in spec.key)
        whole = f"`{spec.partition}`" if spec.partition else "never, merged by key"
        lines.append(f"| `{spec.name}` | {spec.grain} | {keys} | {whole} |")
    return "\n".join(lines) + "\n"


def updated(page: str) -> str:
    """The page with its table as it should be. Raises ValueError without exactly one marked place for it."""
    text, count = _BLOCK.subn(lambda found: found[1] + table() + found[2], page)
    if count != 1:
        raise ValueError(f"{PAGE}: {count} places between the markers of docs/list_tables.py; there must be one")
    return text


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)
