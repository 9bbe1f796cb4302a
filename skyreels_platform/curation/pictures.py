"""Pictures of curation for people: what came in, what each signal measured, what is kept and what is not and why, and the balance.

Everything is drawn from the ledger: the scores and the kept pictures of shots (table `frames`), judged under the bounds in force. No
file of footage is opened. The same rows give the same bytes.
"""

import io
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skyreels_platform.curation.balance import OTHERS, BalanceResult
from skyreels_platform.curation.pool_versions import bounds_in_force
from skyreels_platform.curation.pools import Judged, judge_wide
from skyreels_platform.curation.standing import judged_by
from skyreels_platform.curation.wide import WideScores, spread, wide_of_batch
from skyreels_platform.home import Home
from skyreels_platform.recipe import PoolSettings

NUM_TILES = 12
"""Pictures of each kind on one contact sheet."""
COLUMNS = 4

_TILE = (240, 135)  # pixels
_TEXT = (225, 225, 225)
_BACKGROUND = (24, 24, 24)
_TITLE_HEIGHT = 30  # pixels
_MAX_LINES = 9  # under one tile
_LINE_LENGTH = 38  # letters that fit under one tile
_MAX_REASONS = 3  # named beside one bar of the funnel
_QUALITY = 85  # of JPEGs

Tile = tuple[str, Sequence[str]]
"""Shot id and the lines under its picture."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture in the home's store."""

    name: str
    """funnel | signals | shots | balance."""
    caption: str
    """What it shows, in one sentence."""
    key: str
    """In the store."""
    data: bytes
    """PNG or JPEG, as the key ends."""


def batch_pictures(home: Home, batch: str, pools: Mapping[str, PoolSettings], *, min_length_s: float = 0.0) -> list[Picture]:
    """Funnel, signals and contact sheet of one batch, stored under reports/<batch>/; a batch without shots has a funnel only.

    pools: the recipe's, loose to strict. The first one's bounds are drawn into the histograms and decide the contact sheet.
    """
    wide = wide_of_batch(home, batch)
    asked = {
        stage: judged_by(bounds_in_force(home.ledger, stage, settings).settings, min_length_s)
        for stage, settings in pools.items() if not stage.startswith("sft_")  # those depend on the balance over all batches
    }
    judged = {stage: judge_wide(wide, settings.bounds) for stage, settings in asked.items()}
    pictures = [_funnel(home, batch, judged, len(wide))]
    if len(wide) and judged:
        stage, first = next(iter(judged.items()))
        pictures += [_signals(home, batch, stage, wide, asked[stage]), _shots(home, batch, stage, first)]
    return pictures


def balance_pictures(home: Home, result: BalanceResult) -> list[Picture]:
    """Shares of the concepts before and after balance, with their targets, stored under reports/balance/."""
    from skyreels_platform.report.plots import balance_picture

    heading = f"Concept balance: {len(result.kept):,} of {len(result.kept) + len(result.dropped):,} shots kept"
    before, after = ({**shares, OTHERS: _together(shares, result.target)} for shares in (result.before, result.after))
    data = balance_picture(before, after, result.target, heading)
    short = "".join(f"; {concept} is {count:,} short" for concept, count in sorted(result.short.items()))
    return [_stored(home, "balance", "balance/balance.png", data, heading + short + ".")]


def _together(shares: Mapping[str, float], target: Mapping[str, float]) -> float:
    """Share of all concepts without a target of their own."""
    return sum(share for concept, share in shares.items() if concept not in target)


def contact_sheet_of(home: Home, groups: Mapping[str, Sequence[Tile]]) -> bytes:
    """JPEG: per title a grid of shots, each with its middle kept picture and its lines; a grey tile where no picture is kept.

    Lines that are too wide or too many are cut. Titles without shots say so.
    """
    from PIL import Image, ImageDraw, ImageFont

    from skyreels_platform.media.contact_sheet import contact_sheet

    images = _middle_pictures(home, [shot_id for tiles in groups.values() for shot_id, _ in tiles])
    grids = [
        contact_sheet([(images[shot_id], list(lines)[:_MAX_LINES]) for shot_id, lines in tiles], COLUMNS, tile_size=_TILE)
        if tiles else np.zeros((0, 0, 3), np.uint8) for tiles in groups.values()
    ]
    width = max([grid.shape[1] for grid in grids] + [_TILE[0] * 2])
    sheet = Image.new("RGB", (width, sum(grid.shape[0] + _TITLE_HEIGHT for grid in grids)), _BACKGROUND)
    draw, top = ImageDraw.Draw(sheet), 0
    for title, grid in zip(groups, grids, strict=True):
        draw.text((8, top + 6), title if grid.size else f"{title}: none", _TEXT, ImageFont.load_default(16))
        if grid.size:
            sheet.paste(Image.fromarray(grid), (0, top + _TITLE_HEIGHT))
        top += _TITLE_HEIGHT + grid.shape[0]
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _funnel(home: Home, batch: str, judged: Mapping[str, Judged], num_shots: int) -> Picture:
    from skyreels_platform.report.plots import funnel_picture

    files = Counter(home.ledger.rows("files", {"batch": batch}, ["status"])["status"].to_pylist())
    sources = home.ledger.rows("sources", {"batch": batch, "status": "ready"}, ["source_id"]).num_rows
    failed = Counter(home.ledger.rows("failures", {"batch": batch}, ["step"])["step"].to_pylist())
    lost = {name: files[name] for name in ("refused", "duplicate", "listed")}
    failures = {f"sources failed in {step}": count for step, count in sorted(failed.items())}
    steps = [
        ("files", files.total(), "files", ""), ("sources ready", sources, "files", _listed(lost)),
        ("shots", num_shots, "shots", _listed(failures)),
        *((f"pass {stage}", pool.counts.get("pass", 0), "shots", _listed(pool.by_reason())) for stage, pool in judged.items()),
    ]
    caption = f"{batch}: " + ", ".join(f"{count:,} {title}" for title, count, *_ in steps) + "."
    data = funnel_picture(steps, f"Batch {batch}: what is left after each step")
    return _stored(home, "funnel", f"{batch}/funnel.png", data, caption)


def _listed(counts: Mapping[str, int]) -> str:
    """The first few that are not zero, as they come: the most frequent first where reasons are counted."""
    found = [f"{name}: {count:,}" for name, count in counts.items() if count]
    more = [f"{len(found) - _MAX_REASONS} more reasons"] if len(found) > _MAX_REASONS else []
    return ", ".join(found[:_MAX_REASONS] + more)


def _signals(home: Home, batch: str, stage: str, wide: WideScores, asked: PoolSettings) -> Picture:
    """Signals with a bound first, in the order of the recipe."""
    from skyreels_platform.report.plots import signals_picture

    plots = []
    for name in [*(name for name in asked.bounds if name in wide.signals), *sorted(set(wide.signals) - asked.bounds.keys())]:
        values = np.concatenate(wide.pieces(name))
        measured, num_unknown = values[np.isfinite(values)], int(np.isnan(values).sum())
        title = f"{name} ({wide.units.get(name) or 'no unit'})" + (f", {num_unknown:,} unknown" if num_unknown else "")
        plots.append((title, measured, asked.bounds.get(name)))
    data = signals_picture(plots, f"Batch {batch}: every signal of {len(wide):,} shots, with the bounds of pool {stage}")
    return _stored(home, "signals", f"{batch}/signals.png", data, f"What each signal measured; dashed: the bounds of pool {stage}.")


def _shots(home: Home, batch: str, stage: str, judged: Judged) -> Picture:
    groups, counts = {}, []
    rejected = f"rejected by pool {stage} or held for review"
    for title, is_wanted in ((f"kept by pool {stage}", judged.codes == 0), (rejected, judged.codes > 0)):
        rows = np.flatnonzero(is_wanted)
        shown = spread(rows, NUM_TILES)
        pairs = zip(judged.wide.shot_ids(shown), judged.reasons(shown), strict=True)
        groups[f"{len(shown)} of {len(rows):,} {title}"] = [(shot_id, tile_lines(shot_id, reasons)) for shot_id, reasons in pairs]
        counts.append(f"{len(rows):,} {title}")
    return _stored(home, "shots", f"{batch}/shots.jpg", contact_sheet_of(home, groups), f"{batch}: {', '.join(counts)}.")


def tile_lines(shot_id: str, reasons: Sequence[str]) -> list[str]:
    """What stands under a shot's picture: its id and every reason, broken into lines that fit."""
    return [shot_id, *(line for reason in reasons for line in textwrap.wrap(reason, _LINE_LENGTH, subsequent_indent="  "))]


def _middle_pictures(home: Home, shot_ids: list[str]) -> dict[str, np.ndarray]:
    """Shot id -> (h, w, 3) uint8 of its middle kept picture; plain grey where the ledger keeps none."""
    from PIL import Image

    kept: dict[str, list[bytes]] = {}
    for row in home.ledger.rows("frames", {"shot_id": shot_ids}, ["shot_id", "image"]).to_pylist():  # in order of position
        kept.setdefault(row["shot_id"], []).append(row["image"])
    pictures = dict.fromkeys(shot_ids, np.full((_TILE[1], _TILE[0], 3), 96, np.uint8))
    for shot_id, found in kept.items():
        with Image.open(io.BytesIO(found[len(found) // 2])) as image:
            pictures[shot_id] = np.asarray(image.convert("RGB"))
    return pictures


def _stored(home: Home, name: str, path: str, data: bytes, caption: str) -> Picture:
    key = f"reports/{path}"
    home.store.write_bytes(key, data)
    return Picture(name=name, caption=caption, key=key, data=data)
