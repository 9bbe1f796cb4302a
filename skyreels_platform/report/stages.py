"""The training stages behind a film as a table: what each started from, trained on, saw and ended with."""

from dataclasses import dataclass

from skyreels_platform.ledger.ledger import Ledger
from skyreels_platform.report.markup import Html, html, sentence


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One checkpoint of the film's line."""

    stage: str
    dataset: str
    num_videos: int
    num_images: int
    num_shots: int
    sizes: str
    """Width x height of its clips, commonest first."""
    num_steps: int | None
    num_seen: int
    """Clips that its steps saw, repeats counted."""
    final_loss: float | None


def read_stages(ledger: Ledger, checkpoint_ids: list[str]) -> list[StageRow]:
    """One row per checkpoint, in the order given (oldest first)."""
    rows = []
    for key in checkpoint_ids:
        for checkpoint in ledger.rows("checkpoints", {"checkpoint_id": key}).to_pylist():
            snapshot = checkpoint["snapshot_id"] or ""
            clips = ledger.rows("snapshot_clips", {"snapshot_id": snapshot}, ["shot_id", "num_frames", "width", "height"]).to_pylist()
            dataset = ledger.rows("snapshots", {"snapshot_id": snapshot}, ["dataset"])["dataset"].to_pylist()
            sizes = [f"{clip['width']} x {clip['height']}" for clip in clips if clip["width"] and clip["num_frames"] != 1]
            images = sum(clip["num_frames"] == 1 for clip in clips)
            rows.append(StageRow(
                stage=checkpoint["stage"], dataset=dataset[0] if dataset else "", num_videos=len(clips) - images, num_images=images,
                num_shots=len({clip["shot_id"] for clip in clips}), num_steps=checkpoint["num_steps"],
                sizes=", ".join(sorted(set(sizes), key=lambda size: (-sizes.count(size), size))[:3]),
                num_seen=ledger.rows("seen", {"checkpoint_id": key}, ["step"]).num_rows, final_loss=checkpoint["final_loss"],
            ))  # fmt: skip
    return rows


def stages_section(rows: list[StageRow]) -> Html:
    """The table."""
    if not rows:
        return html("<section><h2>Training stages</h2>{none}</section>", none=sentence("The ledger has no checkpoint behind this film."))
    lines = [
        html(
            '<tr data-stage="{stage}"><td>{stage}</td><td>{dataset}</td><td class="number">{videos}</td><td class="number">{images}</td>'
            '<td class="number">{shots}</td><td>{sizes}</td><td class="number">{steps}</td><td class="number">{seen}</td>'
            '<td class="number">{loss}</td></tr>',
            stage=row.stage, dataset=row.dataset, videos=f"{row.num_videos:,}", images=f"{row.num_images:,}", shots=f"{row.num_shots:,}",
            sizes=row.sizes, steps="" if row.num_steps is None else f"{row.num_steps:,}", seen=f"{row.num_seen:,}",
            loss="" if row.final_loss is None else f"{row.final_loss:.3f}",
        )
        for row in rows
    ]  # fmt: skip
    return html(
        '<section><h2>Training stages</h2><p class="mute">Oldest first; each starts from the weights of the one before.</p>'
        '<div class="wide"><table><tr><th>stage</th><th>data set</th><th class="number">video clips</th><th class="number">images</th>'
        '<th class="number">shots</th><th>pixels</th><th class="number">steps</th><th class="number">clips seen</th>'
        '<th class="number">final loss</th></tr>{lines}</table></div></section>', lines=lines,
    )  # fmt: skip
