"""HTML that cannot be broken by what it shows: every value is escaped on its way into a template, unless it is markup already.

File names, captions and error texts come from files that nobody vouches for. Control characters and characters that turn the
direction of writing become U+FFFD, so that a name looks like what it is.
"""

import base64
import html as escaping
import re
from collections.abc import Iterable, Mapping

_UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Html(str):
    """Markup: goes into a template as it is."""

    __slots__ = ()


def html(template: str, /, **values: object) -> Html:
    """The template with every `{name}` filled: Html as it is, None as nothing, a list part by part, all else escaped as text."""
    return Html(template.format(**{name: _markup(value) for name, value in values.items()}))


def join(parts: Iterable[object], between: str = "") -> Html:
    """The parts in one; `between` is text, too."""
    return Html(escaping.escape(between).join(_markup(part) for part in parts))


def shorten(text: object, limit: int) -> str:
    """At most `limit` characters: a sidecar may hold a megabyte."""
    text = str(text)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def data_uri(kind: str, data: bytes) -> Html:
    """`data:` URI of media type `kind`."""
    return Html(f"data:{kind};base64,{base64.b64encode(data).decode()}")


def facts(pairs: Mapping[str, object]) -> Html:
    """A list of names and values; empty values are left out."""
    rows = [html("<dt>{name}</dt><dd>{value}</dd>", name=name, value=value) for name, value in pairs.items() if value not in (None, "")]
    return html("<dl>{rows}</dl>", rows=rows)


def listing(items: list[Html], *, limit: int, unit: str) -> Html:
    """A list that is cut after `limit` items, and says by how many."""
    rest = len(items) - limit
    shown = [html("<li>{item}</li>", item=item) for item in items[:limit]]
    more = html('<li class="mute">and {rest} more {unit}</li>', rest=f"{rest:,}", unit=unit) if rest > 0 else None
    return html("<ul>{shown}{more}</ul>", shown=shown, more=more)


def sentence(text: str) -> Html:
    """A paragraph that stands where something is missing."""
    return html('<p class="mute">{text}</p>', text=shorten(text, 600))


def count(number: int, noun: str) -> str:
    """`1 shot`, `1,200 shots`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """`58.3 s` or `1.20 h`."""
    return f"{seconds / 3600:,.2f} h" if seconds >= 3600 else f"{seconds:.1f} s"


def page(title: str, sections: Iterable[Html]) -> Html:
    """A whole document without anything to load."""
    return html(_PAGE, title=title, style=Html(STYLE), sections=list(sections))


def _markup(value: object) -> str:
    if isinstance(value, Html):
        return value
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return "".join(_markup(part) for part in value)
    return escaping.escape(_UNSHOWABLE.sub("\ufffd", str(value)))


# The policy is a second wall behind the escaping: even markup that slipped through could neither run nor load anything.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{sections}
</main>
</body>
</html>
"""

STYLE = """
:root { --back: #f7f7f5; --card: #ffffff; --ink: #1b1d22; --mute: #5a5f6a; --line: #d9dbe1; --kept: #2a6cb0; --out: #c2571a;
  --pass: #17703f; --fail: #b3261e; --soft: #eceef2; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14161a; --card: #1d2026; --ink: #e8e9ed; --mute: #a3a8b4; --line: #363a43; --kept: #6db0f2; --out: #f09a5c;
    --pass: #5cc48c; --fail: #ff8f86; --soft: #282c34; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.25rem; margin: 0 0 1rem; }
h1 { font-size: 1.5rem; margin: .2rem 0 .6rem; } h2 { font-size: 1.2rem; margin: 0 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .4rem 0; } .mute { color: var(--mute); } code, pre { font: .875em/1.5 ui-monospace, Menlo, Consolas, monospace; }
code, dd, li, figcaption, td { overflow-wrap: anywhere; }
pre { background: var(--soft); border-radius: 6px; padding: .6rem .8rem; overflow-x: auto; }
ul { margin: .3rem 0; padding-left: 1.2rem; } summary { cursor: pointer; } details > ul { border-left: 1px solid var(--line); }
dl { display: grid; grid-template-columns: minmax(6rem, auto) 1fr; gap: .15rem 1rem; margin: .4rem 0; }
dt { color: var(--mute); } dd { margin: 0; }
table { border-collapse: collapse; width: 100%; } .wide { overflow-x: auto; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.big { font-size: 1.15rem; font-weight: 600; } .prompt { font-size: 1.15rem; border-left: 3px solid var(--kept); padding-left: .7rem; }
.film { display: grid; grid-template-columns: minmax(0, 20rem) minmax(0, 1fr); gap: 1.25rem; align-items: start; }
@media (max-width: 40rem) { .film { grid-template-columns: minmax(0, 1fr); } section { padding: .8rem; } }
video { width: 100%; border-radius: 6px; background: #000; display: block; }
.strip { display: flex; gap: 3px; overflow-x: auto; margin-top: .8rem; } .strip img { height: 5.5rem; border-radius: 3px; }
.badge { border-radius: 6px; padding: .5rem .75rem; margin: .6rem 0; border: 1px solid; }
.badge b { display: block; } .badge span { color: var(--ink); }
.pass { color: var(--pass); } .fail { color: var(--fail); } .not_applicable { color: var(--mute); }
.step { margin: 0 0 .9rem; } .step > p { display: flex; justify-content: space-between; gap: 1rem; margin: 0; }
.bar { height: .6rem; background: var(--soft); border-radius: 3px; overflow: hidden; margin: .2rem 0; }
.bar i { display: block; height: 100%; background: var(--kept); }
.drop { color: var(--out); font-size: .925rem; margin: .2rem 0 0 .8rem; } .drop * { color: var(--ink); } .drop > b { color: var(--out); }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .8rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); gap: 1rem; }
.large { grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
figure { margin: 0; } figcaption { font-size: .825rem; line-height: 1.35; margin-top: .25rem; }
.tile { display: flex; align-items: center; justify-content: center; aspect-ratio: 16 / 10; background: #000; border-radius: 5px;
  overflow: hidden; text-align: center; font-size: .75rem; color: #d0d3da; }
.tile.gone { background: #6a6f7a; color: #ffffff; padding: .4rem; overflow-wrap: anywhere; }
.tile img { width: 100%; height: 100%; object-fit: contain; }
.reason { color: var(--out); display: block; } .swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; }
svg { width: 100%; height: auto; display: block; stroke-linejoin: round; stroke-linecap: butt; } svg text { fill: var(--ink); }
"""
