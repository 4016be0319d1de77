"""The rules by which series are chosen: what is left out, what a contrast is, and rank.

Physics first, names second: descriptions lie more often than echo times. The limits were put
together from vendors' protocols (not specified in the paper).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dal_fast.dicom.facts import Facts
from dal_fast.dicom.words import ELSEWHERE, HEAD, LOCALISER, UNBORN, named


@dataclass(frozen=True)
class Rule:
    """A row: what a series must be, and the reason in words."""

    name: str
    reason: str
    holds: Callable[[Facts], bool]


def _words(*words: str) -> Callable[[Facts], bool]:
    return lambda facts: not facts.words.isdisjoint(words)


def _types(*words: str) -> Callable[[Facts], bool]:
    return lambda facts: not set(facts.image_type).isdisjoint(words)


def _body(facts: Facts) -> bool:
    """Another part of the body, by the series' own names, its body part, or the whole study."""
    own = named(facts.words, ELSEWHERE) or named(facts.study_words, UNBORN)
    part = facts.body_part
    other_part = part not in _ANY_PART and not any(word in part for word in HEAD)
    of_study = named(facts.study_words, ELSEWHERE) and not named(facts.study_words, HEAD)
    return bool(own or other_part or of_study)


_ANY_PART = frozenset(("", "UNKNOWN", "UNDEFINED", "OTHER", "NONE", "WHOLEBODY", "WHOLE BODY"))


def _stated(facts: Facts) -> bool:
    """Whether the header says what decides about a contrast: times, and the kind of echo."""
    kind = facts.gradient or facts.spin or facts.inversion
    return facts.te is not None and facts.tr is not None and kind


def _by_name(contrast: str) -> Callable[[Facts], bool]:
    """The contrast is named, the header does not say enough, and does not contradict."""

    def holds(facts: Facts) -> bool:
        unsaid = not _stated(facts) or (contrast == "FLAIR" and not facts.ti)
        return (
            facts.named == contrast
            and unsaid
            and "DERIVED" not in facts.image_type
            and _fits(facts, *_BY_NAME[contrast])
            and not (facts.gradient and not facts.spin and contrast != "T1w")
        )

    return holds


_BY_NAME = {
    "FLAIR": ((60, 700), (3500, 20000), (1500, 4000)),
    "T1w": ((0, 30), (0, 4000), (300, 1400)),
    "T2w": ((60, 700), (2000, 20000), (0, 0)),
}
"""Limits of echo, repetition and inversion time, ms, for those that are stated."""


def _fits(facts: Facts, *limits: tuple[float, float]) -> bool:
    times = (facts.te, facts.tr, facts.ti[0] if facts.ti else None)
    within = (low <= t <= high for t, (low, high) in zip(times, limits, strict=True) if t)
    return all(within) and len(facts.ti) < 2


_NAMED = {contrast: _by_name(contrast) for contrast in _BY_NAME}


def _no_times(facts: Facts) -> bool:
    """Neither echo and repetition time nor names that are believed say what it is."""
    unsaid = facts.te is None or facts.tr is None
    return unsaid and not any(holds(facts) for holds in _NAMED.values())


EXCLUSIONS = (
    Rule(
        "derived-without-parameters",
        "its header does not say how it was acquired (echo and repetition time), and says that it "
        "was derived from other images, so that its names alone are not believed",
        lambda f: _no_times(f) and "DERIVED" in f.image_type and bool(f.named),
    ),
    Rule(
        "no-parameters",
        "its header does not say how it was acquired (echo and repetition time), and its names do "
        "not say it either",
        _no_times,
    ),
    Rule("body-part", "it shows another part of the body, or a part of the head alone", _body),
    Rule(
        "component",
        "it is no magnitude image",
        lambda f: f.component not in ("", "magnitude"),
    ),
    Rule(
        "localiser",
        "it is a localiser or a calibration",
        lambda f: _types("LOCALIZER")(f)
        or bool(named(f.words, LOCALISER)),
    ),
    Rule(
        "reformatted",
        "it was computed from another series (reformatted, projected, subtracted, fused)",
        lambda f: _types("MPR", "CURVED MPR", "PROJECTION IMAGE", "MIP", "MNIP", "MINIP", "MIN_IP",
                         "MAX_IP", "REFORMATTED", "REFORMATED", "RESAMPLED", "CSA RESAMPLED",
                         "CSAPARALLEL", "SUBTRACT", "SUBTRACTION", "SECONDARY", "SCREEN SAVE",
                         "FUSED")(f)
        or _words("MIP", "MINIP", "MNIP", "REFORMAT", "REFORMATTED", "SUBTRACTION", "FUSION",
                  "FUSED", "RFMT")(f)
        or (_words("RECON")(f) and not _words("DL", "AIR", "RDL", "ARDL")(f))
        or (_words("MPR")(f) and not _types("ORIGINAL")(f))  # MPR in MPRAGE's name, too
        or re.search(r"(?<![A-Z0-9])SUB(?![A-Z0-9]|-?\d)", f.text) is not None,
    ),
    Rule(
        "diffusion",
        "it is diffusion weighted, or a map of diffusion",
        lambda f: f.b_value > 0
        or _types("ADC", "TRACEW", "TRACE", "FA", "EADC", "DIFFUSION", "TENSOR", "EXP")(f)
        or _words("DWI", "DTI", "DIFF", "DIFFUSION", "ADC", "EADC", "TRACE", "TRACEW", "TENSOR",
                  "COLFA", "IVIM", "DKI", "RESOLVE", "DSI", "NODDI", "B0", "B1000")(f)
        or re.search(r"(?<![A-Z0-9])FA(?![A-Z0-9])(?!\W*\d)", f.text) is not None,  # or an angle
    ),
    Rule(
        "perfusion-or-function",
        "it is a perfusion, functional or spectroscopic series",
        lambda f: _types("PERFUSION", "ASL", "FMRI", "CBF", "CBV", "MTT", "TTP", "T0")(f)
        or _words("PERF", "PERFUSION", "ASL", "PCASL", "PASL", "DSC", "DCE", "BOLD", "FMRI", "CBF",
                  "CBV", "RCBF", "RCBV", "MTT", "TTP", "REST", "RSFMRI", "SPECTRO", "CSI", "MRS",
                  "SVS", "TWIST", "TRICKS", "TRACER")(f),
    ),
    Rule(
        "echo-planar",
        "it is an echo-planar series",
        lambda f: f.planar or _words("EPI", "EP2D", "SEEPI", "GEEPI")(f),
    ),
    Rule(
        "angiography",
        "it shows vessels or flow",
        lambda f: f.angio
        or _types("VELOCITY", "ANGIO", "FLOW")(f)
        or _words("TOF", "MRA", "MRV", "ANGIO", "VENO", "PCA", "FLOW", "INHANCE", "QFLOW", "CEMRA",
                  "VENOGRAM", "ANGIOGRAPHY")(f),
    ),
    Rule(
        "susceptibility",
        "it is weighted by susceptibility or T2*",
        lambda f: _types("SWI", "QSM", "MNIP")(f)
        or _words("SWI", "SWIP", "SWAN", "QSM", "VENBOLD", "HEMO", "HEME", "T2STAR", "MERGE",
                  "MEDIC", "SUSC", "GREFIELD", "FIELDMAP", "FIELD", "MAPPING")(f)
        or "T2*" in f.text
        or (f.gradient and not f.spin and f.te is not None and f.te > 15),
    ),
    Rule(
        "several-echoes",
        "it is a gradient echo of several echo times",
        lambda f: f.gradient and not f.spin and f.echoes > 1,
    ),
    Rule(
        "special",
        "it is a map, a part of one, or of a special contrast",
        lambda f: _types("WATER", "FAT", "W", "F", "IN_PHASE", "OPP_PHASE", "T1 MAP", "T2 MAP",
                         "R2", "R2_STAR", "PD MAP")(f)
        or _words("INV1", "INV2", "T1MAP", "T2MAP", "B1", "B1MAP", "DIXON", "MDIXON", "IDEAL",
                  "VIBE", "LAVA", "THRIVE", "STARVIBE", "MPM", "VFA", "DESPOT", "MAGIC",
                  "SYNTHETIC", "SYMRI", "MTC", "MTON", "MTOFF", "MTR", "MT", "PSIR",
                  "FGATIR", "WMN", "CISS",
                  "FIESTA", "TRUFI", "BFFE", "MAP", "QUANT", "CEST", "APT", "CINE",
                  "BLACKBLOOD", "NM", "NEUROMELANIN", "MYELIN", "FLUTE", "MRE", "PETRA",
                  "ZTE", "UTE")(f)
        or (f.three_d and "DRIVE" in f.words),  # of the inner ear; the 2D one is a plain T2w
    ),
    Rule(
        "magnetisation-transfer",
        "magnetisation transfer darkens its white matter",
        lambda f: "MTC" in f.variant,
    ),
    Rule(
        "double-inversion",
        "it has two inversion times",
        lambda f: len(f.ti) > 1 or _words("DIR", "DOUBLEIR")(f),
    ),
    Rule(
        "fat-nulled",
        "its inversion time nulls fat (STIR)",
        lambda f: any(80 <= time <= 300 for time in f.ti) or _words("STIR")(f),
    ),
    Rule(
        "proton-density",
        "it is weighted by proton density",
        lambda f: f.te is not None and f.tr is not None
        and f.tr >= 1500 and f.te < 40 and not f.inversion and not f.gradient,
    ),
)  # fmt: skip
"""A series for which one of these holds is never chosen."""

CONTRAST_AGENT = Rule(
    "contrast-agent",
    "a contrast agent was given, which the model has never seen (--allow-contrast-agent)",
    lambda f: f.agent,
)


AFTER_AGENT = Rule(
    "after-contrast-agent",
    "a T1w acquired after a series with a contrast agent, by the times of both "
    "(--allow-contrast-agent)",
    lambda f: f.late,
)
"""Asked of T1w series alone: many do not say of themselves that an agent was given."""


def _te(f: Facts) -> float:
    return -1.0 if f.te is None else f.te


def _tr(f: Facts) -> float:
    return -1.0 if f.tr is None else f.tr


def _ti_within(f: Facts, low: float, high: float) -> bool:
    return len(f.ti) == 1 and low <= f.ti[0] <= high


CONTRASTS = (
    (
        "FLAIR",
        Rule(
            "flair",
            "inversion time ≥ 1500 ms, repetition time ≥ 3500 ms, echo time 60 to 700 ms",
            lambda f: _ti_within(f, 1500, 4000) and _tr(f) >= 3500 and 60 <= _te(f) <= 700
            and not (f.gradient and not f.spin),
        ),
    ),
    (
        "T1w",
        Rule(
            "t1-prepared-gradient-echo",
            "gradient echo with an inversion time of 400 to 1400 ms (or, in 3D, an inversion of "
            "unknown time and a repetition time ≥ 1000 ms), echo time < 15 ms, repetition time < "
            "4000 ms (longer ones are the parts of an MP2RAGE)",
            lambda f: f.gradient and not f.spin and 0 < _te(f) < 15 and _tr(f) < 4000
            and (_ti_within(f, 400, 1400)
                 or (f.inversion and not f.ti and f.three_d and _tr(f) >= 1000)),
        ),
    ),
    (
        "T1w",
        Rule(
            "t1-mp2rage-uniform",
            "the uniform image of an MP2RAGE (UNI): gradient echo, repetition time ≥ 4000 ms, echo "
            "time < 15 ms; never its two inversions or its T1 map",
            lambda f: f.gradient and not f.spin and f.uniform and _tr(f) >= 4000
            and 0 < _te(f) < 15,
        ),
    ),
    (
        "T1w",
        Rule(
            "t1-spoiled-gradient-echo",
            "3D gradient echo, repetition time 4.5 to 50 ms (shorter ones are of localisers and "
            "dynamic series), echo time < 15 ms, flip angle from about the Ernst angle of white "
            "matter to 40°, no flow compensation",
            lambda f: f.gradient and not f.spin and f.three_d and 4.5 <= _tr(f) < 50
            and 0 < _te(f) < 15 and f.beyond_ernst and (not f.ti or _ti_within(f, 400, 1400))
            and not f.flow_compensated,
        ),
    ),
    (
        "T1w",
        Rule(
            "t1-spoiled-2d",
            "2D gradient echo (FLASH, SPGR, T1-FFE), repetition time 100 to 400 ms, echo time < 7 "
            "ms, flip angle 60 to 90°, no inversion, pixels of at most 1.5 mm (a field map's are "
            "larger)",
            lambda f: f.gradient and not f.spin and not f.three_d and not f.inversion
            and 100 <= _tr(f) <= 400 and 0 < _te(f) < 7 and f.flip is not None
            and 60 <= f.flip <= 90 and f.pixel_mm <= 1.5,
        ),
    ),
    (
        "T1w",
        Rule(
            "t1-spin-echo",
            "spin echo, repetition time 300 to 1000 ms, echo time < 30 ms, no inversion",
            lambda f: f.spin and not f.gradient and not f.inversion and 300 <= _tr(f) <= 1000
            and 0 < _te(f) < 30,
        ),
    ),
    (
        "T1w",
        Rule(
            "t1-inversion-spin-echo",
            "spin echo with an inversion time of 500 to 1300 ms, echo time < 30 ms, repetition "
            "time < 4000 ms",
            lambda f: not f.gradient and _ti_within(f, 500, 1300) and 0 < _te(f) < 30
            and _tr(f) < 4000,
        ),
    ),
    (
        "T2w",
        Rule(
            "t2-spin-echo",
            "spin echo (GE's PROPELLER, whose kind is not stated, by its name), no inversion, "
            "repetition time ≥ 2000 ms, echo time 60 to 700 ms",
            lambda f: f.spin and not f.gradient and not f.inversion and _tr(f) >= 2000
            and 60 <= _te(f) <= 700 and f.named != "FLAIR",
        ),
    ),
    *(
        (
            contrast,
            Rule(
                f"{contrast.lower()}-by-name",
                f"its names say {contrast}; times or the kind of echo are not stated, and what is "
                f"does not contradict (flag contrast-by-name)",
                _NAMED[contrast],
            ),
        )
        for contrast in ("FLAIR", "T1w", "T2w")
    ),
)  # fmt: skip
"""What a contrast is, in milliseconds; the first row that holds decides."""

RANKING: tuple[tuple[str, Callable[[Facts], Any]], ...] = (
    ("a series without a contrast agent comes before one with it", lambda f: f.agent or f.late),
    ("a 3D series comes before a 2D one", lambda f: not f.three_d),
    (
        "a series with an empty background comes before an MP2RAGE with noise around the head",
        lambda f: 0 if not f.uniform else 1 if f.denoised else 2,
    ),
    (
        "the series whose voxels have the shortest longest side comes first",
        lambda f: round(f.largest_mm, 1),
    ),
    ("an original series comes before a derived one", lambda f: "DERIVED" in f.image_type),
    (
        "an intensity-normalised series comes before one that is not",
        lambda f: "NORM" not in f.image_type,
    ),
    (
        "a series that was corrected for distortion comes before one that was not, and one "
        "corrected in three dimensions before one in two",
        lambda f: 0 if "DIS3D" in f.image_type else 1 if "DIS2D" in f.image_type else 2,
    ),
)
"""Which of several series of a contrast is taken, as a sentence; the first difference decides."""
