"""Reversed playback."""

from skyreels_platform.curation.signals.base import Score, Signal


class Playback(Signal):
    """Whether the shot is played backwards: always `unknown`, because no measure without learned weights is honest about it.

    What could be measured is nearly symmetrical in time (motion, light, sharpness, the codec's traces); what is not (falling,
    splashing, walking) has to be understood first. A bound on this signal sends shots to review or to nobody. The other kind of
    changed playback, speed changed by repeating or by mixing frames, is measured by `cadence` and `frame_mixing`; speed changed by
    leaving frames out leaves no trace.
    Source: paper 3.1 names speed change among the defects of post-processing; it does not say how it is found.
    """

    name, unit, version = "playback", "share of frames", "1"
    video_only, still, needs_pixels = True, "an image is not played", False

    def result(self) -> Score:
        return self.unknown("the direction of time needs a model that understands the scene; none is configured")
