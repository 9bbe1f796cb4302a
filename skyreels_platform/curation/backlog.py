"""What of an ingest batch is not up to date, asset by asset, told from provenance alone and without opening a source.

A row knows what it was made from, so a row whose provenance is not the one that its source, the code and the recipe would give now is
stale, and nothing else is. Scores are judged signal by signal: a changed signal makes its own rows stale and no others.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from skyreels_platform.curation.batches import score_provenance, shots_provenance
from skyreels_platform.curation.costs import Estimate, Rate, estimate
from skyreels_platform.curation.steps import Row, ready_sources, shots_by_source
from skyreels_platform.home import Home
from skyreels_platform.recipe import Recipe

if TYPE_CHECKING:
    from skyreels_platform.curation.fingerprint_store import FingerprintStore


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What one asset of one batch has to make."""

    batch: str
    asset: str
    num_sources: int
    """Sources of the batch that can be worked on; files for `source_videos`."""
    num_stale: int
    """Those of them that will be worked on."""
    num_stale_rows: int
    """Rows that are there and will be made again."""
    cost: Estimate
    longest_s: float
    """Core-seconds of the longest single source."""
    signals: Mapping[str, int] = field(default_factory=dict)
    """Signal -> sources in which it alone is measured again, or for the first time."""
    note: str = ""
    """What cannot be known yet."""


def backlog(
    home: Home, fingerprints: "FingerprintStore", batch: str, assets: Iterable[str], recipe: Recipe,
    rates: Mapping[tuple[str, str], Rate],
) -> list[Backlog]:
    """One entry per asset, in their order. A source whose shots will be cut again is not counted again under `scores`."""
    chosen = list(assets)
    state = _State(home=home, fingerprints=fingerprints, batch=batch, recipe=recipe, rates=rates, has_shots="shots" in chosen)
    return [_KINDS[asset](state) for asset in chosen]


class _State:
    """What several assets ask of one batch."""

    def __init__(
        self, *, home: Home, fingerprints: "FingerprintStore", batch: str, recipe: Recipe, rates: Mapping[tuple[str, str], Rate],
        has_shots: bool,
    ) -> None:
        self.home, self.fingerprints, self.batch, self.recipe, self.rates = home, fingerprints, batch, recipe, rates
        self.sources = ready_sources(home, batch)
        self.shots = shots_by_source(home, batch)
        expected = {source["source_id"]: shots_provenance(source, recipe.shots) for source in self.sources}
        self.uncut = {
            key for key, own in expected.items()
            if key not in self.shots or any(row["provenance"] != own for row in self.shots[key])
        }  # fmt: skip
        self.new_shots = self.uncut if has_shots else set()

    def entry(self, asset: str, stale: Iterable[str], **facts: Any) -> Backlog:
        """The backlog of an asset that works on some sources."""
        keys = set(stale)
        cost, longest_s = estimate(self.rates, asset, [source for source in self.sources if source["source_id"] in keys])
        return Backlog(
            batch=self.batch, asset=asset, num_sources=len(self.sources), num_stale=len(keys), cost=cost, longest_s=longest_s, **facts
        )


def _source_videos(state: _State) -> Backlog:
    files = state.home.ledger.rows("files", {"batch": state.batch}, ["status", "size_bytes"]).to_pylist()
    unread = [row for row in files if row["status"] == "listed"]
    note = f"{len(unread)} files were never read: what they hold, and what they cost after that, is known then" if unread else ""
    cost, longest_s = estimate(state.rates, "source_videos", [{"media": "image", "num_frames": 1} for _ in unread])
    return Backlog(
        batch=state.batch, asset="source_videos", num_sources=len(files), num_stale=len(unread), num_stale_rows=0, cost=cost,
        longest_s=longest_s, note=note,
    )  # fmt: skip


def _shots(state: _State) -> Backlog:
    rows = sum(len(state.shots.get(key, ())) for key in state.uncut)
    return state.entry("shots", state.uncut, num_stale_rows=rows)


def _scores(state: _State) -> Backlog:
    from skyreels_platform.curation.signals.choice import choose

    kinds = choose(state.recipe.signals)
    columns = ["shot_id", "signal", "provenance"]
    stored = {
        (row["shot_id"], row["signal"]): row["provenance"]
        for row in state.home.ledger.rows("scores", {"batch": state.batch}, columns).to_pylist()
    }
    stale: set[str] = set()
    signals: Counter[str] = Counter()
    num_rows = 0
    for key, shots in state.shots.items():
        if key in state.new_shots:
            continue
        for name, kind in kinds.items():
            own = [
                row["shot_id"] for row in shots
                if stored.get((row["shot_id"], name)) != score_provenance(name, kind.version, row["provenance"])
            ]
            if own:
                stale.add(key)
                signals[name] += 1
                num_rows += sum((shot, name) in stored for shot in own)
    note = f"{len(state.new_shots)} sources are measured while their shots are cut" if state.new_shots else ""
    return state.entry("scores", stale, num_stale_rows=num_rows, signals=dict(signals), note=note)


def _embeddings(state: _State) -> Backlog:
    from skyreels_platform.curation.embeddings import fingerprint_provenance

    stored = state.fingerprints.standing(row["shot_id"] for shots in state.shots.values() for row in shots)
    stale = {
        key for key, shots in state.shots.items() if key not in state.new_shots
        and any(stored.get(row["shot_id"]) != fingerprint_provenance(row["provenance"], state.fingerprints.backend) for row in shots)
    }  # fmt: skip
    rows = sum(row["shot_id"] in stored for key in stale for row in state.shots[key])
    note = f"{len(state.new_shots)} sources get theirs while their shots are cut" if state.new_shots else ""
    return state.entry("embeddings", stale, num_stale_rows=rows, note=note)


def _captions(state: _State) -> Backlog:
    from skyreels_platform.captioning.batches import beside_of, captions_provenance

    beside = beside_of(state.home, state.batch, state.recipe.captions)
    columns = ["shot_id", "status", "provenance"]
    stored = {row["shot_id"]: row for row in state.home.ledger.rows("captions", {"batch": state.batch}, columns).to_pylist()}

    def is_stale(source: Row) -> bool:
        own = captions_provenance(source, state.shots, state.recipe.captions, state.recipe.seed, beside)
        captions = [stored.get(row["shot_id"]) for row in state.shots.get(source["source_id"], [])]
        return any(row is None or row["status"] == "error" or row["provenance"] != own for row in captions)

    stale = {source["source_id"] for source in state.sources if source["source_id"] in state.new_shots or is_stale(source)}
    rows = sum(row["shot_id"] in stored for key in stale for row in state.shots.get(key, []))
    return state.entry("captions", stale, num_stale_rows=rows)


_KINDS: Mapping[str, Callable[[_State], Backlog]] = {
    "source_videos": _source_videos, "shots": _shots, "scores": _scores, "embeddings": _embeddings, "captions": _captions,
}  # fmt: skip
