"""Which clips and noise a step is tried with until its loss and gradient are finite.

First its own. If they were refused and the data are sound, its own again: a passing fault leaves the run as it would have been. Then
those of steps that lie whole runs beyond (step + num_steps, + 2 num_steps, ...), which no other step draws. Draws with clips that are
known to be broken are passed over without computing them; where nearly all are, there is soon nothing left to try. The draw that a step
ends with is the first one without a broken clip, whether the breakage was known before or not, so a resumed run takes the same.
"""

from collections.abc import Callable, Iterable, Iterator

TRIES = 4
"""Computations of one step on data that are sound, at most (our choice)."""
_FINDS = 64  # computations that each find clips to be broken, at most: then it is not a few clips
_SEARCH = 1000  # draws looked through for one without a broken clip


class Draws:
    """The draws of one process's steps, and what it has learned about the data."""

    def __init__(self, clips_at: Callable[[int], Iterable[str]], num_steps: int) -> None:
        """clips_at: ids of the clips that a step draws, for any step from 0 on. num_steps: of the whole run."""
        self._clips_at, self._num_steps = clips_at, num_steps
        self._broken: set[str] = set()

    def learn(self, clips: Iterable[str]) -> None:
        """Clips whose latents were found broken; every rank must learn the same."""
        self._broken |= set(clips)

    def tries(self, step: int) -> Iterator[int]:
        """Steps whose draw to take in place of `step`'s, itself first; call `learn` before asking for the next.

        At most TRIES, not counting those after which something new was learned; none once no draw without a broken clip is found.
        """
        at = step if self._is_sound(step) else self._next(step)
        refused = found = 0
        while at is not None and refused < TRIES and found < _FINDS:
            known = len(self._broken)
            yield at
            learned = len(self._broken) > known
            found, refused = found + learned, refused + (not learned)
            if learned or refused > 1 or at != step:
                at = self._next(at)

    def _next(self, at: int) -> int | None:
        later = range(at + self._num_steps, at + (_SEARCH + 1) * self._num_steps, self._num_steps)
        return next((draw for draw in later if self._is_sound(draw)), None)

    def _is_sound(self, at: int) -> bool:
        return not self._broken or self._broken.isdisjoint(self._clips_at(at))
