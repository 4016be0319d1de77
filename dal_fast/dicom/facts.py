"""What a stack's header says of how it was acquired, in one form for all vendors."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from dal_fast.dicom.frames import Frame
from dal_fast.dicom.words import denies_agent, folded, named_contrast, names_agent, words_of

_NO_AGENT = frozenset(
    ("", "NO", "NONE", "N", "0", "NIL", "OHNE", "N/A", "NA", "-", "KEIN", "AUCUN", "NINGUNO")
)
_FAST_SPIN_ECHO = re.compile(
    r"(?<![A-Z])(PROPEL(LER)?|BLADE|MULTIVANE|JET|(FR|SS)?FSE|TSE|FASE)(?![A-Z])"
)
"""In the name of a sequence; GE calls PROPELLER's kind ``RM`` (research mode)."""
_OPERATOR = ("SeriesDescription", "ProtocolName")
"""Names that people give."""
_CONTRASTS = {"T1": "T1w", "T2": "T2w", "FLUID_ATTENUATED": "FLAIR"}
"""Values of AcquisitionContrast."""
_UNIFORM = frozenset(("UNI", "UNIFORM", "UNIDEN", "UNIT1"))
_DENOISED = frozenset(("DEN", "UNIDEN", "DENOISED"))
_WHITE_MATTER_T1 = 850.0
"""Milliseconds at 3 T, for the angle from which a spoiled gradient echo is T1 weighted."""


@dataclass(frozen=True)
class Facts:
    """Of one stack.

    Attributes:
        words: of its names (description, protocol, sequence), in capitals without accents.
        text: the same, not taken apart.
        named: the contrast that description and protocol name, or the header in a word; empty
            where none, or several.
        study_words: of the study's and the requested procedure's descriptions.
        body_part: in capitals.
        image_type: in capitals.
        variant: what the sequence adds (``MTC``, ``SP``, …), in capitals.
        component: ``magnitude``, ``phase``, …; empty where it is unknown.
        gradient, spin, planar, inversion: what kind of echo; ``planar`` is EPI.
        three_d: excited as a volume.
        te, tr, flip: milliseconds and degrees; ``None`` where unknown.
        ti: inversion times, ms.
        echoes: how many echo times the series has.
        b_value: s/mm².
        angio: the header calls it an angiogram.
        agent: a contrast agent was given, by the header or the series' names.
        started: date and time of the first of its slices, ``YYYYMMDDHHMMSS…``; empty if unknown.
        largest_mm: the longest side of a voxel.
        pixel_mm: the longer side of a pixel, in the plane of a slice.
        flow_compensated: as time-of-flight and susceptibility series are.
        late: it was acquired after a series with a contrast agent of the same study.
    """

    words: frozenset[str]
    text: str
    named: str
    study_words: frozenset[str]
    body_part: str
    image_type: tuple[str, ...]
    variant: frozenset[str]
    component: str
    gradient: bool
    spin: bool
    planar: bool
    inversion: bool
    three_d: bool
    te: float | None
    tr: float | None
    flip: float | None
    ti: tuple[float, ...]
    echoes: int
    b_value: float
    angio: bool
    agent: bool
    started: str
    largest_mm: float
    pixel_mm: float
    flow_compensated: bool
    late: bool = False

    @property
    def beyond_ernst(self) -> bool:
        """Whether the flip angle is near or above the Ernst angle of white matter."""
        if self.tr is None or self.flip is None:
            return False
        ernst = math.degrees(math.acos(math.exp(-self.tr / _WHITE_MATTER_T1)))
        return 0.75 * ernst <= self.flip <= 40

    @property
    def uniform(self) -> bool:
        """Whether it is the quotient of an MP2RAGE's two images, by its type or its names."""
        return not _UNIFORM.isdisjoint(self.words | words_of(" ".join(self.image_type)))

    @property
    def denoised(self) -> bool:
        """Whether the noise around the head was removed from such an image."""
        return not _DENOISED.isdisjoint(self.words | words_of(" ".join(self.image_type)))


def facts_of(frames: tuple[Frame, ...], echoes: int, voxel_mm: tuple[float, float, float]) -> Facts:
    """The facts of a stack.

    Args:
        frames: of it.
        echoes: how many echo times its series has.
        voxel_mm: sides of a voxel, those in the plane first.
    """
    frame = frames[0]
    scanning = set(frame.texts("ScanningSequence"))
    pulse = frame.text("EchoPulseSequence").upper()
    names = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
    text = folded(" ".join(frame.text(name) for name in names))
    study = " ".join(frame.text(n) for n in ("StudyDescription", "RequestedProcedureDescription"))
    ti = tuple(sorted({time for f in frames for time in f.inversion_times}))
    return Facts(
        words=words_of(text),
        text=text,
        named=named_contrast(folded(" ".join(frame.text(n) for n in _OPERATOR)))
        or _CONTRASTS.get(frame.text("AcquisitionContrast").upper(), ""),
        study_words=words_of(folded(study)),
        body_part=folded(frame.text("BodyPartExamined")),
        image_type=frame.image_type,
        variant=frozenset(frame.texts("SequenceVariant")),
        component=frame.component,
        gradient="GR" in scanning or pulse in ("GRADIENT", "BOTH"),
        spin="SE" in scanning
        or pulse in ("SPIN", "BOTH")
        or _fast_spin_echo(frame, scanning, text),
        planar="EP" in scanning or frame.text("EchoPlanarPulseSequence").upper() == "YES",
        inversion="IR" in scanning or frame.text("InversionRecovery").upper() == "YES" or bool(ti),
        three_d=_three_d(frame),
        te=frame.echo_time,
        tr=frame.number("RepetitionTime"),
        flip=frame.number("FlipAngle"),
        ti=ti,
        echoes=echoes,
        b_value=max(f.b_value for f in frames),
        angio=frame.text("AngioFlag").upper() == "Y"
        or frame.text("AcquisitionContrast").upper() in ("TIME_OF_FLIGHT", "FLOW_ENCODED"),
        agent=any(_stated_agent(f) for f in frames) or _named_agent(frame),
        started=min((_time_of(f) for f in frames), default=""),
        largest_mm=max(voxel_mm),
        pixel_mm=max(voxel_mm[:2]),
        flow_compensated=_flow_compensated(frame),
    )


def _fast_spin_echo(frame: Frame, scanning: set[str], text: str) -> bool:
    """Whether the sequence's name says so where the header states no kind of echo.

    Args:
        frame: of the stack.
        scanning: what the header states.
        text: names of the series, which count where it states research mode.
    """
    if scanning - {"RM", "IR"} or frame.text("EchoPulseSequence"):
        return False
    names = ("SequenceName", "PulseSequenceName", "GEPulseSequence", "GEInternalSequence")
    of_sequence = " ".join(frame.text(name) for name in names).upper()
    return bool(
        _FAST_SPIN_ECHO.search(f"{text} {of_sequence}" if "RM" in scanning else of_sequence)
    )


def _flow_compensated(frame: Frame) -> bool:
    options = frame.texts("ScanOptions")
    stated = frame.text("FlowCompensation").upper()
    return any(o == "FC" or o.startswith("FC_") for o in options) or stated not in ("", "NONE")


def _time_of(frame: Frame) -> str:
    """When a slice was acquired, in a form that can be ordered; empty if unknown."""
    whole = frame.text("FrameAcquisitionDateTime") or frame.text("AcquisitionDateTime")
    parts = [frame.text(f"Acquisition{part}") for part in ("Date", "Time")]
    return whole or ("".join(parts) if all(parts) else "")


def _three_d(frame: Frame) -> bool:
    stated = frame.text("MRAcquisitionType").upper()
    return stated == "3D" or (not stated and "3D" in frame.text("SequenceName").upper())


def _stated_agent(frame: Frame) -> bool:
    text = folded(frame.text("ContrastBolusAgent"))
    stated = text not in _NO_AGENT and not denies_agent(text)
    return stated or bool(frame.file.header.get("ContrastBolusAgentSequence"))


def _named_agent(frame: Frame) -> bool:
    return names_agent(folded(" ".join(frame.text(name) for name in _OPERATOR)))


def distinct_echoes(frames: list[Frame]) -> int:
    """How many echo times there are."""
    times = {None if f.echo_time is None else float(np.round(f.echo_time, 1)) for f in frames}
    return len(times)
