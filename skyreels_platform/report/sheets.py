"""Contact sheets on the page: tiles that wrap to the width of any screen, their text beside the picture and not in it."""

from skyreels_platform.home import Home
from skyreels_platform.report.markup import Html, count, data_uri, html, shorten
from skyreels_platform.report.pictures import Row, Tile, choose, tiles_of

_MAX_CAPTION = 200
_MAX_REASON = 160
_MAX_REASONS = 10  # on one tile


def sheets_section(home: Home, shots: list[Row], stage: str) -> Html:
    """Shots that pool `stage` keeps, with captions, and shots that it does not, with every reason."""
    groups = {
        f"Kept by pool {stage}": [shot for shot in shots if shot["verdict"] == "pass"],
        f"Rejected by pool {stage} or held for review": [shot for shot in shots if shot["verdict"] != "pass"],
    }
    chosen = {title: choose(group) for title, group in groups.items()}
    tiles = {tile.shot["shot_id"]: _tile(tile) for tile in tiles_of(home, [shot for group in chosen.values() for shot in group])}
    parts = []
    for title, group in groups.items():
        picked = chosen[title]
        note = count(len(group), "shot") if len(picked) == len(group) else f"{len(picked)} of {count(len(group), 'shot')}, chosen by hash"
        sheet = html('<div class="sheet">{tiles}</div>', tiles=[tiles[shot["shot_id"]] for shot in picked])
        parts.append(html("<h3>{title}</h3><p class=\"mute\">{note}</p>{sheet}", title=title, note=note if group else "none",
                          sheet=sheet if group else None))  # fmt: skip
    return html("<section><h2>Shots</h2>{parts}</section>", parts=parts)


def _tile(tile: Tile) -> Html:
    shot = tile.shot
    if tile.jpeg is None:
        picture = html('<div class="tile gone">{problem}</div>', problem=shorten(tile.problem, _MAX_REASON))
    else:
        uri = data_uri("image/jpeg", tile.jpeg)
        picture = html('<div class="tile"><img alt="middle frame of {shot}" src="{uri}"></div>', shot=shot["shot_id"], uri=uri)
    if shot["verdict"] == "pass":
        lines = [html("{caption}", caption=shorten(shot["t2v"] or "no caption", _MAX_CAPTION))]
    else:
        reasons = shot["reasons"] or ["no reason given"]
        lines = [html('<span class="reason">{reason}</span>', reason=shorten(reason, _MAX_REASON)) for reason in reasons[:_MAX_REASONS]]
    place = f"{shot['start_s']:.2f} to {shot['end_s']:.2f} s" if shot["start_s"] is not None and shot["end_s"] is not None else ""
    return html(
        '<figure data-shot="{id}">{picture}<figcaption>{lines}<span class="mute"><bdi>{name}</bdi> {place}</span></figcaption></figure>',
        id=shot["shot_id"], picture=picture, lines=[html("<div>{line}</div>", line=line) for line in lines],
        name=shorten(shot["name"] or shot["source_id"], _MAX_CAPTION), place=place,
    )  # fmt: skip
