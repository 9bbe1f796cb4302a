"""A home with one rendered film and snapshots written by hand: what encoding and training start from."""

from pathlib import Path
from typing import Any

from resources.home import open_home
from skyreels_platform.home import Home
from skyreels_platform.ledger.current import set_current
from skyreels_platform.recipe import Recipe
from skyreels_platform.training.encode import LatentsResult, encode_snapshot
from tests.micro import DATASETS, NUM_STEPS, micro_values, render_footage

STARTS = (0, 8, 33, 41, 66, 74)


def small_recipe(**stage: Any) -> Recipe:
    """The micro recipe on one rank; the keywords change every stage."""
    values = micro_values()
    values["launch"]["num_ranks"] = 1
    for settings in values["stages"].values():
        settings |= {"num_steps": NUM_STEPS, **stage}
    return Recipe.model_validate(values)


class SmallData:
    """Footage and a ledger that knows snapshots of it."""

    def __init__(self, root: Path) -> None:
        self.home: Home = open_home(str(root / "home"))
        self.footage = render_footage(root / "footage")[0]

    def snapshot(self, key: str, captions: list[str]) -> None:
        """Clips of 17 frames, one per caption, from the starts in order."""
        self.home.ledger.replace("snapshot_clips", key, [
            {"snapshot_id": key, "clip_id": f"clip_{start}", "shot_id": f"shot_{start // 33}", "source_id": "src_1",
             "uri": str(self.footage), "start_frame": start, "end_frame": start + 17, "crop": [0, 0, 128, 128], "fps_num": 16,
             "fps_den": 1, "train_fps": 16, "num_frames": 17, "width": 32, "height": 32, "caption": caption, "provenance": "p"}
            for start, caption in zip(STARTS, captions, strict=False)
        ])  # fmt: skip

    def encode(self, key: str, recipe: Recipe) -> LatentsResult:
        result = encode_snapshot(self.home, key, recipe.codec, recipe.text)
        for dataset in DATASETS:
            set_current(self.home.ledger, f"latents_{dataset}", result.latents_id)
        return result
