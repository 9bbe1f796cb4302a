"""The page that a person opens after a run: what went in, what came out, and every number in between.

One file, nothing to load from elsewhere, no scripts; the same ledger and store give the same bytes.
"""

from pathlib import Path
from typing import Any

from skyreels_platform.curation.datasets import POOL_OF
from skyreels_platform.errors import SourceError
from skyreels_platform.home import Home
from skyreels_platform.ledger.trace import Node, trace_film
from skyreels_platform.recipe import PoolSettings, Recipe
from skyreels_platform.report.funnel import batch_gates, footage_seconds, read_balance, read_pools, read_steps
from skyreels_platform.report.levels import levels_section
from skyreels_platform.report.lineage import lineage_checkpoints, lineage_section
from skyreels_platform.report.markup import Html, page
from skyreels_platform.report.sections import film_section, funnel_section, recipe_section
from skyreels_platform.report.stages import read_stages, stages_section
from skyreels_platform.store import temporary_beside

Row = dict[str, Any]


def build_report(home: Home, recipe: Recipe, *, film_id: str, out: Path) -> Path:
    """Write the page about one film and the footage of its home to `out` (an .html file), whole or not at all; returns `out`.

    Every part that is missing (a film file, losses, rejected shots, footage that has moved) becomes a sentence on the page.
    Raises LedgerError if the ledger has no such film.
    """
    # Matplotlib and PyAV: not for those who only import this function.
    from skyreels_platform.report.charts import charts_section
    from skyreels_platform.report.pictures import shots_under
    from skyreels_platform.report.sheets import sheets_section

    out = Path(out)
    lineage = trace_film(home.ledger, film_id)
    (film,) = home.ledger.rows("films", {"film_id": lineage.id}).to_pylist()
    checkpoints = lineage_checkpoints(lineage)
    stage, pool = _pool(home, recipe, checkpoints)
    shots = shots_under(home, stage)
    sections = [
        _film(home, film, checkpoints),
        _funnel(home, recipe, stage, checkpoints),
        stages_section(read_stages(home.ledger, [node.id for node in checkpoints])),
        sheets_section(home, shots, stage),
        charts_section(home, shots, stage, pool.bounds, checkpoints),
        levels_section(recipe, checkpoints[-1].facts.get("stage") if checkpoints else None),
        lineage_section(lineage),
        recipe_section(home, recipe, film, checkpoints, next((shot["uri"] for shot in shots if shot["uri"]), None)),
    ]
    with temporary_beside(out) as temporary:
        temporary.write_text(page(f"Film {lineage.id}", sections), encoding="utf-8")
        temporary.replace(out)
    return out


def _snapshot_id(checkpoints: list[Node]) -> str | None:
    """The snapshot of the film's own checkpoint."""
    return checkpoints[-1].facts.get("snapshot_id") if checkpoints else None


def _pool(home: Home, recipe: Recipe, checkpoints: list[Node]) -> tuple[str, PoolSettings]:
    """The pool that fed the snapshot of the film's own checkpoint; the recipe's first one if that is unknown."""
    rows = home.ledger.rows("snapshots", {"snapshot_id": _snapshot_id(checkpoints) or ""}, ["dataset"]).to_pylist()
    name = POOL_OF.get(rows[0]["dataset"].removeprefix("dataset_")) if rows else None
    pools = list(recipe.pools.items())
    return next(((stage, pool) for stage, pool in pools if stage == name), pools[0])


def _film(home: Home, film: Row, checkpoints: list[Node]) -> Html:
    from skyreels_platform.report.pictures import FILM_BYTES, film_frames

    video, problem, strip, strip_problem = None, "", [], ""
    try:
        path = home.fetch(film["path"])
        if not path.is_file():
            raise SourceError(f"{path} is not there any more")
        strip, strip_problem = film_frames(path)
        size = path.stat().st_size
        video, problem = (path.read_bytes(), "") if size <= FILM_BYTES else (None, f"{size / 2**20:.1f} MiB, see {path}")
    except SourceError as error:
        problem = strip_problem = str(error)
    return film_section(
        film, checkpoints[-1].facts.get("stage") if checkpoints else None, num_files=home.ledger.rows("files").num_rows,
        seconds=footage_seconds(home.ledger), video=video, video_problem=problem, strip=strip, strip_problem=strip_problem,
    )  # fmt: skip


def _funnel(home: Home, recipe: Recipe, stage: str, checkpoints: list[Node]) -> Html:
    ids = [node.id for node in checkpoints]
    steps = read_steps(home.ledger, stage=stage, snapshot_id=_snapshot_id(checkpoints), checkpoint_ids=ids)
    held, num_passed = batch_gates(home.ledger.rows("gates").to_pylist())
    return funnel_section(steps, read_pools(home.ledger, recipe), read_balance(home.ledger), held, num_passed)
