"""The table of training stages: one line per checkpoint of the film's line, with its own data."""

from pathlib import Path

import pytest

from skyreels_platform.ledger.trace import trace_film
from skyreels_platform.report.lineage import lineage_checkpoints
from skyreels_platform.report.stages import read_stages, stages_section
from tests.report.small_home import BASE, FILM, FORCED, SNAPSHOT, STEPS, SmallHome


@pytest.fixture
def small(tmp_path: Path) -> SmallHome:
    made = SmallHome(tmp_path)
    late = {"snapshot_id": "snap_late", "dataset": "dataset_sft_720p", "num_clips": 3, "duration_s": 1.0, "excluded": "{}"}
    made.merge("snapshots", late)
    made.replace("snapshot_clips", "snap_late", [
        {"snapshot_id": "snap_late", "clip_id": f"late_{number}", "shot_id": f"shot_{number // 2}", "source_id": "src", "uri": "/x",
         "start_frame": 0, "end_frame": 17, "caption": "c", "num_frames": frames, "width": width, "height": 64}
        for number, (frames, width) in enumerate([(17, 64), (17, 64), (17, 80), (1, 64)])
    ])  # fmt: skip
    made.merge("checkpoints", {
        "checkpoint_id": FORCED, "stage": "sft_720p", "parent_id": BASE, "snapshot_id": "snap_late", "num_steps": 5, "final_loss": 0.25,
        "path": f"checkpoints/diffusion_forcing/{FORCED}",
    })  # fmt: skip
    return made


def test_each_stage_is_listed_with_its_own_data_oldest_first(small: SmallHome):
    checkpoints = lineage_checkpoints(trace_film(small.home.ledger, FILM))
    first, second = read_stages(small.home.ledger, [node.id for node in checkpoints])
    assert (first.stage, first.dataset, first.num_steps, first.num_seen) == ("pretrain_256p", "dataset_256p", STEPS, STEPS)
    assert (first.num_videos, first.num_images, first.num_shots, first.final_loss) == (2, 0, 1, None)
    assert (second.stage, second.dataset, second.num_steps, second.final_loss) == ("sft_720p", "dataset_sft_720p", 5, 0.25)
    assert (second.num_videos, second.num_images, second.num_shots) == (3, 1, 2)
    assert second.sizes == "64 x 64, 80 x 64", "images have the sizes of their own buckets"
    page = stages_section([first, second])
    assert page.index('data-stage="pretrain_256p"') < page.index('data-stage="sft_720p"')
    assert SNAPSHOT not in page


def test_a_film_without_checkpoints_gets_a_sentence():
    assert "no checkpoint behind this film" in stages_section([])
