"""What a crop leaves of the things it was meant to avoid: a pool judges the picture that trains, not the one that was delivered.

These signals see no frames. They are settled when the others have their scores: from a score, its regions and the crop that those
regions give (`curation.crop`, the same function and rules as for the row that the data set is cut by).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from skyreels_platform.curation.crop import AVOIDED, CROP_VERSION, Crop, clean_crop
from skyreels_platform.curation.signals.base import Region, Score, ShotInfo, Signal


class AfterCrop(Signal):
    """The part of one signal that lies inside the crop: its value times the share of its regions that the crop still shows.

    Where the crop avoids them all it is 0; where it was refused, or there was nothing to crop, it is the signal's own value. A value
    too small to have regions stays as it is. What the crop did is the score's remark, so that a verdict's reason says it.
    """

    of: ClassVar[str]
    """Name of the signal."""
    needs = AVOIDED

    def __init__(self, shot: ShotInfo) -> None:
        super().__init__(shot)
        self._score: Score | None = None
        self._regions: list[Region] = []
        self._crop: Crop | None = None

    def settle(self, scores: Mapping[str, Score], regions: Sequence[Region]) -> None:
        self._score = scores[self.of]
        self._regions = [region for region in regions if region.kind == self.of]
        if min(self.shot.width, self.shot.height) >= 2:
            avoided = [region for region in regions if region.kind in AVOIDED]
            self._crop = clean_crop(self.shot.width, self.shot.height, avoided)

    def result(self) -> Score:
        assert self._score is not None, "settle comes first"
        if self._score.value is None:
            absent = self.not_applicable if self._score.outcome == "not_applicable" else self.unknown
            return absent(self._score.reason)
        crop = self._crop
        if crop is None or not self._regions:
            return self.measured(self._score.value)
        left = self._left(self._score.value, self._shown(crop), crop)
        return self.measured(left, remark=f"crop {crop.status}: {crop.reason}" if crop.reason else "")

    @classmethod
    def _left(cls, value: float, shown: float, crop: Crop) -> float:
        """What remains of a value of whose regions the share `shown` lies in the crop."""
        return value * shown / crop.area_share

    def _shown(self, crop: Crop) -> float:
        """Share of the regions' area that lies inside the crop."""
        width, height = self.shot.width, self.shot.height
        x0, y0, x1, y1 = crop.x / width, crop.y / height, (crop.x + crop.width) / width, (crop.y + crop.height) / height
        inside = sum(
            max(0.0, min(region.x1, x1) - max(region.x0, x0)) * max(0.0, min(region.y1, y1) - max(region.y0, y0))
            for region in self._regions
        )
        return inside / sum((region.x1 - region.x0) * (region.y1 - region.y0) for region in self._regions)


def version_of(signal: type[Signal], crop_makers: Sequence[type[Signal]]) -> str:
    """Changes with the signal, with whatever else moves the crop, and with the crop's rules."""
    made_by = " ".join(f"{kind.name}-{kind.version}" for kind in crop_makers)
    return f"1 of {signal.version} in {CROP_VERSION} by {made_by}"
