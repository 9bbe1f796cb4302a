"""Follows lines of text through the stills of a shot and keeps those that stand still."""

from skyreels_platform.curation.signals.text_lines import Strokes, TextLine, text_lines

_KEPT, _KEPT_SURE, _LASTED = 0.35, 0.75, 0.75  # as TextLine has them
_LINES = 12  # remembered per shot


class TextTrack:
    """The lines of text that stand still."""

    def __init__(self) -> None:
        self.stills = 0
        self.lines: list[TextLine] = []
        """The largest so far, at most _LINES, none inside another."""
        self._before: Strokes | None = None
        self._earlier: Strokes | None = None

    def add(self, now: Strokes) -> None:
        if self._before is not None:
            for line in _joined(text_lines(now, self._before, self._earlier), now.plane.shape[0] / now.plane.shape[1]):
                # A moving text covers itself in part: a third still shows what it is.
                if line.kept >= _KEPT_SURE or (line.kept >= _KEPT and line.lasted >= _LASTED):
                    self._keep(line)
        self._before, self._earlier = now, self._before
        self.stills += 1

    def found(self) -> list[TextLine]:
        """What has been found; of a single still, what looks like text there."""
        if self.stills == 1 and self._before is not None:
            return text_lines(self._before, None)
        return self.lines

    def _keep(self, line: TextLine) -> None:
        if any(covers(other, line) for other in self.lines):
            return
        kept = [other for other in self.lines if not covers(line, other)] + [line]
        self.lines = sorted(kept, key=lambda one: (-one.area, one.y0, one.x0))[:_LINES]


def _joined(lines: list[TextLine], aspect: float) -> list[TextLine]:
    """The lines, those put together that are parts of one: at one level, less than two heights apart. aspect: height / width.

    Of a line that is seen twice, by its letters and by their outline, the surer one counts.
    """
    joined: list[TextLine] = []
    surest: list[TextLine] = []
    for line in sorted(lines, key=lambda line: -line.kept):
        if not any(covers(other, line) and covers(line, other) for other in surest):
            surest.append(line)
    for line in sorted(surest, key=lambda line: (line.x0, line.y0, line.x1, line.y1)):
        for number, other in enumerate(joined):
            height = min(line.y1 - line.y0, other.y1 - other.y0)
            across = line.x0 - other.x1
            if abs(line.y0 - other.y0) + abs(line.y1 - other.y1) <= height and across <= 2 * height * aspect:
                joined[number] = TextLine(
                    x0=min(line.x0, other.x0), y0=min(line.y0, other.y0), x1=max(line.x1, other.x1), y1=max(line.y1, other.y1),
                    letters=line.letters + other.letters, kept=min(line.kept, other.kept), lasted=min(line.lasted, other.lasted),
                )  # fmt: skip
                break
        else:
            joined.append(line)
    return joined


def blocks(lines: list[TextLine]) -> list[list[TextLine]]:
    """Lines that stand under each other, less than a height apart, belong together: they may share a plate."""
    blocks: list[list[TextLine]] = []
    for line in sorted(lines, key=lambda line: (line.y0, line.x0)):
        near = line.y1 - line.y0
        for block in blocks:
            if any(min(line.x1, one.x1) > max(line.x0, one.x0) and abs(line.y0 - one.y1) < near for one in block):
                block.append(line)
                break
        else:
            blocks.append([line])
    return blocks


def covers(outer: TextLine, inner: TextLine) -> bool:
    """Whether most of `inner` lies in `outer`."""
    across = min(outer.x1, inner.x1) - max(outer.x0, inner.x0)
    down = min(outer.y1, inner.y1) - max(outer.y0, inner.y0)
    return across > 0 and down > 0 and across * down >= 0.6 * inner.area
