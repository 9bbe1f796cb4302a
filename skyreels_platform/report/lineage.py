"""The lineage of a film as a nested list that folds: film, checkpoints, snapshots, shots, source files."""

from collections import Counter

from skyreels_platform.ledger.trace import Node
from skyreels_platform.report.markup import Html, count, html, listing, shorten

_MAX_CHILDREN = 40
_MAX_LABEL = 240
_COUNTED = {"checkpoint": "checkpoint", "shot": "shot", "source": "source file"}
_FOLDED = ("snapshot", "shot")
"""Kinds whose children are not shown before somebody asks: there are many, and the page begins with the story."""


def lineage_section(film: Node) -> Html:
    """The whole tree of `ledger.trace.trace_film`."""
    counts = Counter({kind: len(keys) for kind, keys in _ids(film, {}).items()})
    checkpoints, shots, files = (count(counts[kind], noun) for kind, noun in _COUNTED.items())
    text = f"The film depends on {checkpoints}, {shots} and {files}."
    return html("<section><h2>Lineage of the film</h2><p>{text}</p><ul>{tree}</ul></section>", text=text, tree=_item(film))


def lineage_checkpoints(film: Node) -> list[Node]:
    """The film's line of checkpoints, oldest first."""
    line: list[Node] = []
    node: Node | None = film
    while node := next((child for child in node.children if child.kind == "checkpoint"), None):
        line.append(node)
    return line[::-1]


def _ids(node: Node, found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Kind -> ids below and at the node."""
    found.setdefault(node.kind, set()).add(node.id)
    for child in node.children:
        _ids(child, found)
    return found


def _item(node: Node) -> Html:
    return html("<li>{node}</li>", node=_node(node))


def _node(node: Node) -> Html:
    line = html(
        '<span class="mute">{kind}</span> <code>{id}</code> {label}', kind=node.kind, id=node.id, label=shorten(node.label, _MAX_LABEL)
    )
    if not node.children:
        return line
    if node.kind == "shot":  # one line: of the tens of shots below a snapshot each has one source
        uses = node.facts.get("num_seen")
        seen = f", seen {count(uses, 'time')}" if uses else ""
        return html("{line}{seen}, from {sources}", line=line, seen=seen, sources=[_node(child) for child in node.children])
    unit = f"{node.children[-1].kind}s"
    below = listing([_node(child) for child in _spread(node)], limit=_MAX_CHILDREN, unit=unit)
    opened = Html("" if node.kind in _FOLDED else " open")
    return html("<details{opened}><summary>{line}</summary>{below}</details>", opened=opened, line=line, below=below)


def _spread(node: Node) -> list[Node]:
    """Children with the few checkpoints and snapshots first, so that no cut takes a parent checkpoint away."""
    return sorted(node.children, key=lambda child: child.kind in ("shot", "source"))
