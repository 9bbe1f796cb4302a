"""Which signal classes a recipe asks for: the built-in ones, with pretrained scorers and OCR where it says so."""

from skyreels_platform.curation.quality import QualitySettings, signal_kind
from skyreels_platform.curation.signals import SIGNALS
from skyreels_platform.curation.signals.base import Signal
from skyreels_platform.curation.signals.ocr import OcrStills, use_ocr
from skyreels_platform.recipe import SignalSettings


def choose(settings: SignalSettings) -> dict[str, type[Signal]]:
    """Every signal by name, in the order of SIGNALS. Its version says which scorer it has, so that a change measures it again.

    Reading text is switched on or off for this process.
    """
    use_ocr(settings.ocr)
    return {name: _chosen(name, kind, settings) for name, kind in SIGNALS.items()}


def _chosen(name: str, kind: type[Signal], settings: SignalSettings) -> type[Signal]:
    chosen = settings.quality.get(name)  # type: ignore[call-overload]
    if chosen is not None:
        return signal_kind(QualitySettings(name=name, backend=chosen.backend, weights=chosen.weights))
    if kind.shared is OcrStills and settings.ocr:
        return type(kind.__name__, (kind,), {"version": f"{kind.version} ocr", "__doc__": kind.__doc__})
    return kind
