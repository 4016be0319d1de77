"""What a process screens with: the compiled chain where that serves, else torch.

Both give the same results; the compiled chain starts faster and takes less memory. A sidecar says
which one it was (``"chain"`` among its parameters).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from dal_fast import context
from dal_fast.batch.threads import limit_threads
from dal_fast.errors import RuntimeUnavailable
from dal_fast.imaging.mask import BrainMask
from dal_fast.imaging.nifti import Volume
from dal_fast.screening.scan import Brain, NonFinite, Scan
from dal_fast.screening.settings import Settings

if TYPE_CHECKING:
    from dal_fast.screening.result import Result
    from dal_fast.screening.scan import Head


class AnyScreener(Protocol):
    """What :class:`dal_fast.screening.screener.Screener` and the compiled one have in common."""

    parameters: dict[str, Any]
    nonfinite: NonFinite
    brain: Brain

    def screen_scan(self, scan: Scan | Head, /) -> Result: ...


class AnyExtractor(Protocol):
    """What extracts brains."""

    @property
    def parameters(self) -> dict[str, Any]: ...

    def extract(self, scan: Volume, /) -> BrainMask: ...


def make_screener(settings: Mapping[str, Any]) -> AnyScreener:
    """What screens with these settings, loaded.

    Args:
        settings: of :class:`dal_fast.screening.settings.Settings`.

    Raises:
        InputError, RuntimeUnavailable: those of :class:`dal_fast.screening.screener.Screener`.
    """
    from dal_fast.screening.compiled import CompiledScreener, why_not

    asked = Settings(**settings)
    if why_not(asked) is None:
        try:
            return CompiledScreener(asked)
        except RuntimeUnavailable:
            pass  # an OpenVINO without a C library that can be used; Python's may be
    limit_threads(context.threads())
    from dal_fast.screening.screener import Screener

    return Screener(**settings)


def make_extractor(brain: Brain, runtime: str, device: str) -> AnyExtractor:
    """What extracts brains for :class:`dal_fast.batch.strip.StripStages`.

    Raises:
        InputError, RuntimeUnavailable: those of
            :func:`dal_fast.screening.brain_extraction.make_extractor`.
    """
    from dal_fast.screening.compiled import CompiledExtractor, why_not

    if why_not(Settings(runtime=runtime, device=device, brain=brain)) is None:
        try:
            return CompiledExtractor()
        except RuntimeUnavailable:
            pass
    limit_threads(context.threads())
    from dal_fast.screening import brain_extraction

    return brain_extraction.make_extractor(brain, runtime, device)
