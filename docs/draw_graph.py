"""Draws the asset graph of the code location as SVG, from the definitions themselves.

    .venv/bin/python docs/draw_graph.py            # writes docs/asset_graph.svg

One column per asset group, in the order of the graph; a stacked box is an asset with one partition per ingest batch; the small line
in a box is its check. Fills carry their own contrast and everything else is a middle grey, so the picture reads on white and on black.
The same definitions give the same bytes: a test compares the file with what this module draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

OUT = Path(__file__).with_name("asset_graph.svg")

_NODE_HEIGHT, _BEND_HEIGHT, _ROW_GAP, _COLUMN_GAP, _PADDING, _HEADER = 38, 4, 20, 40, 9, 20
_NAME_PX, _NOTE_PX = 12.0, 9.5
_CHAR = 0.61  # width of a monospace character in font sizes, a little more than the widest of the usual fonts
_FILLS = ("#3d5a80", "#2a6f6b", "#6a4c93", "#8a5a19", "#4a6b2a", "#99403d", "#1f6390", "#80436b")


@dataclass(frozen=True, kw_only=True)
class Asset:
    """What the picture says of one asset."""

    name: str
    group: str
    level: int
    """Length of the longest path from a root."""
    parents: tuple[str, ...]
    is_partitioned: bool
    checks: tuple[str, ...]


@dataclass(kw_only=True)
class _Item:
    """A box, or a point where an edge passes a column (name None)."""

    name: str | None
    height: float
    x: float = 0.0
    y: float = 0.0
    """Left edge and vertical centre."""
    width: float = 0.0


def read_graph() -> list[Asset]:
    """Every asset of the code location, in topological order."""
    from skyreels_platform.definitions import defs

    graph = defs.resolve_asset_graph()
    assets = []
    for level, keys in enumerate(graph.toposorted_asset_keys_by_level):
        for key in sorted(keys):
            node = graph.get(key)
            assets.append(Asset(
                name=key.to_user_string(), group=node.group_name, level=level, is_partitioned=node.is_partitioned,
                parents=tuple(sorted(parent.to_user_string() for parent in node.parent_keys)),
                checks=tuple(sorted(check.name for check in graph.get_check_keys_for_assets({key}))),
            ))  # fmt: skip
    return assets


def draw(assets: list[Asset]) -> str:
    """The SVG text."""
    columns = _columns(assets)
    items = _place(assets, columns)
    boxes = {item.name: item for column in items for item in column.values() if item.name}
    width = max(box.x + box.width for box in boxes.values()) + 2 * _PADDING
    bottom = max(box.y + _NODE_HEIGHT / 2 for box in boxes.values()) + 2 * _PADDING
    fill = {group: _FILLS[number % len(_FILLS)] for number, group in enumerate(columns)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {bottom:g}" width="{width:g}" height="{bottom:g}" '
        'role="img" font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace">',
        "<title>Asset graph, left to right</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0.5 L7.5,4 L0,7.5 z" fill="#77808c"/></marker></defs>',
        *(_frame(group, column, bottom) for group, column in zip(columns, items, strict=True)),
        *(_edge(parent, asset, columns, items) for asset in assets for parent in asset.parents if parent in boxes),
        *(_box(asset, boxes[asset.name], fill[asset.group]) for asset in assets),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _columns(assets: list[Asset]) -> dict[str, int]:
    """Group -> column, groups that start earlier in the graph further left."""
    first: dict[str, tuple[float, int]] = {}
    for position, asset in enumerate(assets):
        levels = [other.level for other in assets if other.group == asset.group]
        first.setdefault(asset.group, (sum(levels) / len(levels), position))
    return {group: number for number, group in enumerate(sorted(first, key=first.__getitem__))}


def _place(assets: list[Asset], columns: Mapping[str, int]) -> list[dict[str, _Item]]:
    """Per column its items from top to bottom: boxes by asset name, passing points by '<asset> ->'."""
    column_of = {asset.name: columns[asset.group] for asset in assets}
    by_name = {asset.name: asset for asset in assets}
    items: list[dict[str, _Item]] = [{} for _ in columns]
    for asset in assets:
        items[column_of[asset.name]][asset.name] = _Item(name=asset.name, height=_NODE_HEIGHT)
        for parent in asset.parents:
            for passed in range(column_of[parent] + 1, column_of[asset.name]):
                items[passed].setdefault(f"{parent} ->", _Item(name=None, height=_BEND_HEIGHT))
    x = 2.0 * _PADDING
    for number, column in enumerate(items):
        width = max((_width(by_name[key]) for key in column if key in by_name), default=0.0)
        wish = _wishes(number, column, items, by_name, column_of)
        ordered = dict(sorted(column.items(), key=lambda entry: wish[entry[0]]))
        _stack(ordered, [wish[key][0] for key in ordered])
        for item in ordered.values():
            item.x, item.width = x, width
        items[number] = ordered
        x += width + _COLUMN_GAP
    top = min(item.y - item.height / 2 for column in items for item in column.values())
    for column in items:
        for item in column.values():
            item.y += 2 * _PADDING + _HEADER - top
    return items


def _wishes(number: int, column: Mapping[str, _Item], items: list[dict[str, _Item]], by_name: Mapping[str, Asset],
            column_of: Mapping[str, int]) -> dict[str, tuple[float, int, str]]:  # fmt: skip
    """Where each item would like to be, level with what feeds it, but below its parents of the same column."""
    wish: dict[str, tuple[float, int, str]] = {}
    for key in column:
        source = key.removesuffix(" ->")
        level = by_name[key].level if key in by_name else -1
        parents = by_name[key].parents if key in by_name else (source,)
        before = [_entry(parent, number, items, column_of).y for parent in parents if column_of.get(parent, number) < number]
        inside = [wish[parent][0] for parent in parents if column_of.get(parent) == number and parent in wish]
        y = max([sum(before) / len(before) if before else 0.0, *(value + 1 for value in inside)])
        wish[key] = (y, level, key)
    return wish


def _entry(parent: str, number: int, items: list[dict[str, _Item]], column_of: Mapping[str, int]) -> _Item:
    """Where an edge from `parent` comes from, seen from column `number`: the box, or the passing point before it."""
    return items[number - 1][f"{parent} ->" if column_of[parent] < number - 1 else parent]


def _stack(column: Mapping[str, _Item], wishes: list[float]) -> None:
    """Set y: items one below the other without overlap, together centred on where they would like to be."""
    heights = [item.height for item in column.values()]
    y = sum(wishes) / len(wishes) - (sum(heights) + _ROW_GAP * (len(heights) - 1)) / 2
    for item in column.values():
        item.y = y + item.height / 2
        y += item.height + _ROW_GAP


def _width(asset: Asset) -> float:
    texts = [len(asset.name) * _NAME_PX, *(len(check) * _NOTE_PX for check in asset.checks)]
    return round(max(max(texts) * _CHAR, len(asset.group) * _NAME_PX * _CHAR - _PADDING) + 2 * _PADDING, 1)


def _frame(group: str, column: Mapping[str, _Item], bottom: float) -> str:
    first = next(iter(column.values()))
    x, width = first.x - _PADDING, first.width + 2 * _PADDING
    return (
        f'<rect x="{x:g}" y="2" width="{width:g}" height="{bottom - 4:g}" rx="8" fill="#77808c" fill-opacity="0.09"/>'
        f'<text x="{x + width / 2:g}" y="18" font-size="{_NAME_PX:g}" text-anchor="middle" fill="#77808c">{escape(group)}</text>'
    )


def _edge(parent: str, asset: Asset, columns: Mapping[str, int], items: list[dict[str, _Item]]) -> str:
    """One arrow: down within a column, else from column to column through the passing points."""
    start = next(number for number, column in enumerate(items) if parent in column)
    end = columns[asset.group]
    source, target = items[start][parent], items[end][asset.name]
    names = [key for key, item in items[start].items() if item.name]
    if start == end and names.index(asset.name) == names.index(parent) + 1:
        x = source.x + source.width / 2
        path = f"M{x:g},{source.y + _NODE_HEIGHT / 2:g} L{x:g},{target.y - _NODE_HEIGHT / 2 - 1:g}"
    elif start >= end:  # around the column's right side
        side = max(source.x + source.width, target.x + target.width)
        path = (f"M{source.x + source.width:g},{source.y:g} C{side + 26:g},{source.y:g} {side + 26:g},{target.y:g} "
                f"{target.x + target.width + 1:g},{target.y:g}")  # fmt: skip
    else:
        points = [(source.x + source.width, source.y)]
        for column in items[start + 1 : end]:
            passing = column[f"{parent} ->"]
            points += [(passing.x, passing.y), (passing.x + passing.width, passing.y)]
        points.append((target.x - 1, target.y))
        path = f"M{points[0][0]:g},{points[0][1]:g}"
        for (x0, y0), (x1, y1) in pairwise(points):
            bend = (x1 - x0) / 2
            path += f" C{x0 + bend:g},{y0:g} {x1 - bend:g},{y1:g} {x1:g},{y1:g}"
    return (f'<path class="edge" data-from="{escape(parent)}" data-to="{escape(asset.name)}" d="{path}" fill="none" '
            'stroke="#77808c" stroke-width="1.4" marker-end="url(#tip)"/>')  # fmt: skip


def _box(asset: Asset, box: _Item, fill: str) -> str:
    top, middle = box.y - _NODE_HEIGHT / 2, box.x + box.width / 2
    rect = f'width="{box.width:g}" height="{_NODE_HEIGHT}" rx="5" fill="{fill}" stroke="#d9dde3" stroke-width="0.8"'
    stack = f'<rect x="{box.x + 4:g}" y="{top - 4:g}" {rect} fill-opacity="0.55"/>' if asset.is_partitioned else ""
    name_y = box.y - 3 if asset.checks else box.y + 4
    notes = f'<text x="{middle:g}" y="{box.y + 12:g}" font-size="{_NOTE_PX:g}">{escape(", ".join(asset.checks))}</text>'
    return (
        f'<g class="asset" data-asset="{escape(asset.name)}" fill="#ffffff" text-anchor="middle">{stack}'
        f'<rect x="{box.x:g}" y="{top:g}" {rect}/>'
        f'<text x="{middle:g}" y="{name_y:g}" font-size="{_NAME_PX:g}" font-weight="600">{escape(asset.name)}</text>'
        f"{notes if asset.checks else ''}</g>"
    )


if __name__ == "__main__":
    OUT.write_text(draw(read_graph()), encoding="utf-8")
    print(OUT)
