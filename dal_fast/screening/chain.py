"""The compiled chain of the default weights: whether it serves, and how it is opened.

Nothing here imports what reads scans, so that a command can open the chain while that is imported
and a scan is read.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dal_fast import arrays, context, embedding
from dal_fast.context import _C
from dal_fast.errors import Code, RuntimeUnavailable, error_of
from dal_fast.screening.settings import BFLOAT16, CONTRASTS, Settings
from dal_fast.weights import weights_sha256

RUNTIMES = ("openvino", BFLOAT16)
"""Engines of ``dal_options`` by the names that they have here, too."""
_MEMORY = 5  # DAL_MEMORY of dal_fast.h


def why_not(settings: Settings) -> str | None:
    """Why the compiled chain does not screen with these settings; None where it does.

    Settings that nobody takes are left to the screener that refuses them.
    """
    checks = (
        (settings.weights == "default", "the weights are not the default ones"),
        (settings.runtime in ("auto", *RUNTIMES), f"the runtime is {settings.runtime}"),
        (settings.device in ("auto", "cpu"), f"the device is {settings.device}"),
        (settings.score == "auto", "a score was named"),
        (settings.median is None, "a median filter was named"),
        (settings.threshold is None or 0 < settings.threshold < math.inf, "of the threshold"),
        (settings.contrast in (None, *CONTRASTS), "of the contrast"),
        (settings.brain != "hd-bet", "HD-BET extracts the brain"),
    )
    for served, reason in checks:
        if not served:
            return reason
    if settings.device == "auto" and _may_have_gpu():
        return "there may be a GPU"
    return why_not_here()


def why_not_here() -> str | None:
    """Why the compiled chain cannot run in this process; None where it can."""
    if not arrays.enabled():
        return context.extension_problem() or "another backend was chosen"
    try:
        embedding.engine_folder()
        embedding.default_bundle()
    except RuntimeUnavailable as error:
        return error.message
    return None


def _may_have_gpu() -> bool:
    """Whether torch, which then decides, may find a GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return os.path.exists("/dev/kfd")  # AMD's
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 < count.value


def engine_of(runtime: str) -> str:
    """The engine that runs the networks, of those that the chain has."""
    return RUNTIMES[0] if runtime == "auto" else runtime


def open_chain(runtime: str = "auto") -> _C.Chain:
    """The default bundle, opened; its networks are compiled when they are needed.

    Args:
        runtime: ``"auto"`` or one of :data:`RUNTIMES`.

    Raises:
        RuntimeUnavailable: ``runtime-unavailable``, also where the packaged bundle is not that of
            the packaged weights.
    """
    bundle = embedding.default_bundle()
    with chain_errors():
        chain = _C.Chain(
            bundle=bundle.read_bytes(),
            engine=engine_of(runtime),
            engine_path=str(embedding.engine_folder()),
            threads=context.threads(),
        )
    for name, fact in (("default", "weights_sha256"), ("brain", "brain_weights_sha256")):
        if chain.fact(fact) != weights_sha256(name):
            raise RuntimeUnavailable(
                Code.RUNTIME_UNAVAILABLE,
                f"{bundle} is not that of the weights {name!r}: make bundle",
            )
    return chain


@contextlib.contextmanager
def chain_errors() -> Iterator[None]:
    """Turns what the chain refuses or fails with into the package's errors."""
    try:
        yield
    except _C.ChainError as error:
        status, code, message = error.args
        if status == _MEMORY:
            raise MemoryError(message) from None
        if code not in list(Code):
            raise RuntimeError(f"{code}: {message}") from None
        raise error_of(code, message) from None


class Opening:
    """A chain that is being opened, and its networks compiled, in a thread of its own.

    Args:
        runtime: see :func:`open_chain`.
        screening: compile the networks that screen.
        extraction: compile the one that extracts brains, too.
    """

    def __init__(self, runtime: str, screening: bool, extraction: bool) -> None:
        self._runtime, self._parts = runtime, (screening, extraction)
        self._chain: _C.Chain | None = None
        self._error: Exception | None = None
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._open, name="opening")
        self._thread.start()

    def _open(self) -> None:
        screening, extraction = self._parts
        try:
            self._chain = chain = open_chain(self._runtime)
            with chain_errors():
                chain.load(extraction=False, screening=screening)
                if extraction and not self._wanted.is_set():
                    chain.load(extraction=True, screening=False)
        except Exception as error:  # to be raised where it is waited for
            self._error = error

    def chain(self) -> _C.Chain:
        """The chain; what is not compiled by now is when it is needed.

        Raises:
            RuntimeUnavailable: see :func:`open_chain`, and ``engine-parity``.
        """
        self._wanted.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._chain is not None
        return self._chain


def open_early(
    source: Path, settings: Mapping[str, Any], screening: bool, extraction: bool
) -> Opening | None:
    """Begin to open the chain where it serves, so that what takes time besides happens meanwhile.

    Args:
        source: what will be read; where it is neither file nor folder, nothing is opened.
        settings: of :class:`dal_fast.screening.settings.Settings`.
        screening, extraction: see :class:`Opening`.
    """
    asked = Settings(**settings)
    if not (source.is_file() or source.is_dir()) or why_not(asked) is not None:
        return None
    return Opening(asked.runtime, screening, extraction)
