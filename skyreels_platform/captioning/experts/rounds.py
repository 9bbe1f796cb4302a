"""The shot expert from people's labels, and what they should label next (paper 3.2).

One materialization is one step of the loop: heads learn from coarse labels, then from fine ones; held-out shots say how good they are;
and if the last round's picks are labelled, the next round's are picked: shots of which the new heads are least sure, the same number of
every class that they see. People label those on the page of `skyreels label`, and the next materialization goes on. The camera is measured
and not learned; its labels say how well. The same labels over the same shots change nothing.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from model.checkpoint import MANIFEST, write_folder, write_json
from skyreels_platform.captioning import labels as said
from skyreels_platform.captioning.camera import measure_camera
from skyreels_platform.captioning.experts.active import by_hash, pick
from skyreels_platform.captioning.experts.shots import ShotExpert, features_by_name, options_of
from skyreels_platform.captioning.questions import pictures_of
from skyreels_platform.curation.kept_frames import decode_pictures, evenly_spread
from skyreels_platform.home import Home
from skyreels_platform.ledger.current import set_current
from skyreels_platform.ledger.provenance import hash_json, provenance
from skyreels_platform.progress import bar
from skyreels_platform.recipe import LabellingSettings

ROUNDS_VERSION = "shot-expert-1"
"""Raise it when the same labels would give other heads or other picks."""
SHOT_EXPERT = "shot_expert"
PAPER = {"shot_type": 0.822, "shot_angle": 0.787, "shot_position": 0.931, "emotion": 0.88, "camera_static": 0.95}
"""Test accuracy of the paper's experts; emotion is given as 88 % in one place and 85 % in another."""
_RESULT = "result.json"
_SHOTS_AT_ONCE = 64
_ANSWERED = 0.8  # our choice: of a round's picks, before the next round; the others may be shots that nobody can tell

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class HeadScore:
    """How well one field is known, on shots that taught nothing."""

    field: str
    accuracy: float
    num: int
    paper: float | None


@dataclass(frozen=True, kw_only=True)
class ExpertResult:
    """What one step of the loop did."""

    expert_id: str
    learned: dict[str, int] = field(default_factory=dict)
    """Field -> labels that its head learned from; fields without a head are not in it."""
    scores: list[HeadScore] = field(default_factory=list)
    round: int
    """The round that people label now."""
    num_picked: int
    """Shots of that round."""
    num_open: int
    """Of those, not labelled yet."""


def train_expert(home: Home, settings: LabellingSettings, *, seed: int) -> ExpertResult:
    """One step of the loop: learn, judge, pick; see the module's docstring."""
    fine, coarse = said.agreed(home, "fine"), said.agreed(home, "coarse")
    everything = home.ledger.rows("shots", None, ["shot_id", "batch", "start_s", "end_s", "provenance"]).to_pylist()
    labelled = {shot for values in (*fine.values(), *coarse.values()) for shot in values}
    left = by_hash([row["shot_id"] for row in everything if row["shot_id"] not in labelled], seed)[: settings.pool_size]
    chosen = labelled | set(left)
    shots = sorted((row for row in everything if row["shot_id"] in chosen), key=lambda row: row["shot_id"])
    queue = home.ledger.rows("label_queue").to_pylist()
    key = f"shots_{hash_json([ROUNDS_VERSION, settings.model_dump(), seed, fine, coarse, [row['provenance'] for row in shots]])}"
    path = f"experts/{key}"
    if not home.store.exists(f"{path}/{MANIFEST}"):
        expert, learned, vectors = _learn(home, shots, fine, coarse, settings, seed)
        scores = [*_judge(expert, vectors, fine), *_judge_camera(home, shots, fine[said.CAMERA])]
        staged = home.work / "experts" / key

        def fill(folder: Path) -> None:
            expert.save(folder)
            write_json(folder / _RESULT, {"learned": learned, "scores": [asdict(score) for score in scores]})

        if _is_due(queue, fine, settings):  # before the heads are published: after a kill in between both are made again
            number = max((row["round"] for row in queue), default=0) + 1
            picked = _pick(expert, vectors, [shot for shot in left if shot in vectors], settings.per_round)
            batches = {row["shot_id"]: row["batch"] for row in shots}
            picks = [{"round": number, "position": place, "batch": batches[row["shot_id"]], "provenance": key, **row}
                     for place, row in enumerate(picked)]  # fmt: skip
            if picks:
                home.ledger.merge("label_queue", picks)
        write_folder(staged, fill, {"expert_id": key, "provenance": provenance(ROUNDS_VERSION, settings, [key])})
        home.store.upload(staged, path)
        shutil.rmtree(staged)
    told = json.loads((home.fetch(path) / _RESULT).read_text(encoding="utf-8"))
    if told["learned"]:
        set_current(home.ledger, SHOT_EXPERT, key)
    last = last_round(home.ledger.rows("label_queue").to_pylist())
    return ExpertResult(
        expert_id=key, learned=told["learned"], scores=[HeadScore(**score) for score in told["scores"]],
        round=last[0]["round"] if last else 0, num_picked=len(last), num_open=len(open_picks(last, fine)),
    )  # fmt: skip


def last_round(queue: Sequence[Row]) -> list[Row]:
    """The newest round's picks, in order."""
    number = max((row["round"] for row in queue), default=0)
    return sorted((row for row in queue if row["round"] == number), key=lambda row: row["position"])


def open_picks(picks: Sequence[Row], fine: Mapping[str, Mapping[str, str]]) -> list[Row]:
    """Picks of which nobody has said anything yet in the field that they were picked for. `fine`: as by labels.agreed."""
    return [row for row in picks if not any(row["shot_id"] in fine[name] for name in ([row["field"]] if row["field"] else said.HEADS))]


def _is_due(queue: Sequence[Row], fine: Mapping[str, Mapping[str, str]], settings: LabellingSettings) -> bool:
    last = last_round(queue)
    if not last:
        return True
    return last[0]["round"] < settings.rounds and len(open_picks(last, fine)) <= (1 - _ANSWERED) * len(last)


def _learn(
    home: Home, shots: Sequence[Row], fine: Mapping[str, Mapping[str, str]], coarse: Mapping[str, Mapping[str, str]],
    settings: LabellingSettings, seed: int,
) -> tuple[ShotExpert, dict[str, int], dict[str, np.ndarray]]:  # fmt: skip
    """Heads for the fields that have enough labels, what each learned from, and the features of all shots."""
    expert = ShotExpert(*features_by_name(settings.features), source=settings.features)
    vectors: dict[str, np.ndarray] = {}
    with bar("shot expert: features", total=len(shots)) as progress:
        for start in range(0, len(shots), _SHOTS_AT_ONCE):
            for shot, kept in pictures_of(home, shots[start : start + _SHOTS_AT_ONCE]).items():
                if kept:
                    places = evenly_spread([time_s for time_s, _ in kept])
                    vectors[shot] = expert.vector(decode_pictures([kept[place][1] for place in places]))
                progress.advance()
    learned = {}
    for name in said.HEADS:
        for grade, found in (("coarse", coarse[name]), ("fine", fine[name])):
            taught = [shot for shot in found if shot in vectors and not said.is_held_out(shot)]
            if len(taught) >= settings.min_labels and len({found[shot] for shot in taught}) > 1:
                inputs = np.stack([vectors[shot] for shot in taught])
                expert.train(name, inputs, [found[shot] for shot in taught], seed=seed, fine=grade == "fine" and name in expert.heads)
                learned[name] = learned.get(name, 0) + len(taught)
    return expert, learned, vectors


def _judge(expert: ShotExpert, vectors: Mapping[str, np.ndarray], fine: Mapping[str, Mapping[str, str]]) -> list[HeadScore]:
    scores = []
    for name in expert.heads:
        truth = {shot: value for shot, value in fine[name].items() if said.is_held_out(shot) and shot in vectors}
        if truth:
            guesses = expert.probabilities(name, np.stack([vectors[shot] for shot in truth])).argmax(axis=1)
            right = [options_of(name)[guess] == value for guess, value in zip(guesses, truth.values(), strict=True)]
            scores.append(HeadScore(field=name, accuracy=fmean(right), num=len(right), paper=PAPER[name]))
    return scores


def _judge_camera(home: Home, shots: Sequence[Row], truth: Mapping[str, str]) -> list[HeadScore]:
    """Static against moving, and the words' F1, over all labelled shots: nothing is learned from them. Unknown counts as wrong."""
    right, overlaps = [], []
    for shot in shots:
        if (label := truth.get(shot["shot_id"])) is None:
            continue
        kept = pictures_of(home, [shot])[shot["shot_id"]]
        seconds = shot["end_s"] - shot["start_s"]
        if not kept or seconds <= 0:
            continue
        frames = decode_pictures([kept[place][1] for place in evenly_spread([time_s for time_s, _ in kept])])
        found = measure_camera(frames, len(frames) / seconds)
        words = {move for leg in found.legs for move in leg.moves} | ({found.kind} - {"steady", ""})
        wanted = set(label.split(", "))
        right.append(found.known and (words == {said.STATIC}) == (wanted == {said.STATIC}))
        overlaps.append(2 * len(words & wanted) / (len(words) + len(wanted)))
    if not right:
        return []
    return [
        HeadScore(field="camera_static", accuracy=fmean(right), num=len(right), paper=PAPER["camera_static"]),
        HeadScore(field="camera_words_f1", accuracy=fmean(overlaps), num=len(overlaps), paper=None),
    ]


def _pick(expert: ShotExpert, vectors: Mapping[str, np.ndarray], left: Sequence[str], number: int) -> list[Row]:
    """Rows of the queue: for each head its share of the most doubtful; without heads any shots, `left` being in an order by hash."""
    picked: list[Row] = []
    open_ = list(left)
    for place, name in enumerate(expert.heads):
        share = (number - len(picked)) // (len(expert.heads) - place)
        if open_ and share:
            found = expert.probabilities(name, np.stack([vectors[shot] for shot in open_]))
            for shot in pick(open_, found, share):
                chances = found[open_.index(shot)]
                picked.append({"shot_id": shot, "field": name, "guess": options_of(name)[int(chances.argmax())],
                               "confidence": float(chances.max())})  # fmt: skip
            taken = {row["shot_id"] for row in picked}
            open_ = [shot for shot in open_ if shot not in taken]
    if not expert.heads:
        picked = [{"shot_id": shot, "field": "", "guess": "", "confidence": 0.0} for shot in open_[:number]]
    return picked


def shown(scores: Sequence[HeadScore]) -> str:
    """Markdown table of scores beside the paper's."""
    if not scores:
        return "no held-out labels yet"
    lines = [
        f"| {score.field} | {100 * score.accuracy:.1f} | {score.num} | {f'{100 * score.paper:.1f}' if score.paper else ''} |"
        for score in scores
    ]
    return "\n".join(["| field | % right | held-out shots | paper, its own test set |", "|---|---|---|---|", *lines])
