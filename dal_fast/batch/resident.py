"""What a process screens with: the compiled chain where that serves, else torch.

Both give the same results; the compiled chain starts faster and takes less memory. A sidecar says
which one it was (``"chain"`` among its parameters).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from dal_fast import context
from dal_fast.batch.threads import limit_threads
from dal_fast.context import _C
from dal_fast.errors import RuntimeUnavailable
from dal_fast.imaging.mask import BrainMask
from dal_fast.imaging.nifti import Volume
from dal_fast.screening.chain import Opening, open_chain, why_not
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


def make_screener(settings: Mapping[str, Any], opening: Opening | None = None) -> AnyScreener:
    """What screens with these settings, loaded.

    Args:
        settings: of :class:`dal_fast.screening.settings.Settings`.
        opening: a chain that has been opened early for these settings.

    Raises:
        InputError, RuntimeUnavailable: those of :class:`dal_fast.screening.screener.Screener`.
    """
    asked = Settings(**settings)
    chain = _chain(asked, opening)
    if chain is not None:
        from dal_fast.screening.compiled import CompiledScreener

        return CompiledScreener(asked, chain)
    limit_threads(context.threads())
    from dal_fast.screening.screener import Screener

    return Screener(**settings)


def make_extractor(
    brain: Brain, runtime: str, device: str, opening: Opening | None = None
) -> AnyExtractor:
    """What extracts brains for :class:`dal_fast.batch.strip.StripStages`.

    Args:
        brain: ``"strip"`` or ``"hd-bet"``.
        runtime, device: see :class:`dal_fast.screening.settings.Settings`.
        opening: a chain that has been opened early for these settings.

    Raises:
        InputError, RuntimeUnavailable: those of
            :func:`dal_fast.screening.brain_extraction.make_extractor`.
    """
    chain = _chain(Settings(runtime=runtime, device=device, brain=brain), opening)
    if chain is not None:
        from dal_fast.screening.compiled import CompiledExtractor

        return CompiledExtractor(chain)
    limit_threads(context.threads())
    from dal_fast.screening import brain_extraction

    return brain_extraction.make_extractor(brain, runtime, device)


def _chain(settings: Settings, opening: Opening | None) -> _C.Chain | None:
    """The compiled chain where it serves; one whose OpenVINO fails is left to Python's."""
    try:
        if opening is not None:
            return opening.chain()
        return open_chain(settings.runtime) if why_not(settings) is None else None
    except RuntimeUnavailable:
        return None
