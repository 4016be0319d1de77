"""Which series of a study are the T1w, T2w and FLAIR scans of the brain, and why.

A series is chosen only where its header says how it was acquired; no rule of exclusion may hold for
it. Every rule is a row of :mod:`dal_fast.dicom.rules`, and :meth:`Selection.record` tells which one
decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dal_fast.dicom import quiet
from dal_fast.dicom.facts import Facts, distinct_echoes, facts_of
from dal_fast.dicom.frames import Frame, header_value
from dal_fast.dicom.geometry import Stack
from dal_fast.dicom.rules import (
    AFTER_AGENT,
    CONTRAST_AGENT,
    CONTRASTS,
    EXCLUSIONS,
    RANKING,
    Rule,
)
from dal_fast.dicom.series import Part, Series
from dal_fast.errors import Code, InputError
from dal_fast.imaging.orientation import Note

_REPEAT = "it was repeated, and the last one counts"
_EARLY = "other series lie between it and its repeat, by when an agent may have been given"
_TIE = "the others are equal, and the lower number counts"


@dataclass(eq=False)
class Verdict:
    """What was decided about one part of a series.

    Attributes:
        series, part: which.
        suffix: of its name.
        facts: of its stack, where it is one.
        contrast: what it is, ``None`` where that is unknown.
        rule: the name of the rule, or the code of the refusal, that decided.
        reason: in words.
        chosen: to be screened.
        notes: what is odd about the stack, the contrast agent included.
    """

    series: Series
    part: Part
    facts: Facts | None
    contrast: str | None
    rule: str
    reason: str
    chosen: bool = False
    notes: tuple[Note, ...] = ()
    suffix: str = ""

    @property
    def name(self) -> str:
        """Of its results: ``series-5_T1w``; ``suffix`` tells series of one number apart."""
        number = "-".join(filter(None, (str(self.series.number), self.suffix)))
        return f"series-{number}" + (f"_{self.contrast}" if self.contrast else "")

    @property
    def stack(self) -> Stack:
        """The stack of a chosen part."""
        assert self.part.stack is not None
        return self.part.stack

    def record(self) -> dict[str, Any]:
        """JSON-ready, without anything about the patient."""
        stack = self.part.stack
        with quiet():
            description = str(header_value(self.series.header, "SeriesDescription") or "")
        return {
            "SeriesInstanceUID": self.series.uid,
            "SeriesNumber": self.series.number,
            "SeriesDescription": description,
            "Slices": len(self.part.frames),
            "VoxelMM": None if stack is None else [round(side, 3) for side in stack.voxel_mm],
            "Contrast": self.contrast,
            "Chosen": self.chosen,
            "Rule": self.rule,
            "Reason": self.reason,
            "Notes": [{"code": note.code, "message": note.message} for note in self.notes],
        }


@dataclass(eq=False)
class Selection:
    """All verdicts of one study, in the order of series numbers."""

    study_uid: str
    verdicts: list[Verdict]

    @property
    def chosen(self) -> list[Verdict]:
        """What is to be screened."""
        return [verdict for verdict in self.verdicts if verdict.chosen]

    def record(self) -> dict[str, Any]:
        """JSON-ready; the reason of every series."""
        return {
            "StudyInstanceUID": self.study_uid,
            "Series": [verdict.record() for verdict in self.verdicts],
        }


def select_series(series: Sequence[Series], allow_contrast_agent: bool = False) -> Selection:
    """At most one series a contrast of one study.

    Args:
        series: of the study.
        allow_contrast_agent: take series with a contrast agent, too, with a note.
    """
    verdicts = _verdicts(series, allow_contrast_agent)
    for contrast in dict.fromkeys(name for name, _ in CONTRASTS):
        candidates = [v for v in verdicts if v.contrast == contrast and v.rule in _RULES]
        others = [v for v in verdicts if v.contrast != contrast and v.facts is not None]
        _choose(candidates, others if contrast == "T1w" else ())
    return Selection(series[0].study_uid if series else "", verdicts)


_RULES = frozenset(rule.name for _, rule in CONTRASTS)


def select_named(series: Sequence[Series], uids: Sequence[str]) -> Selection:
    """The series that the user names, whatever the rules say.

    Args:
        series: of the study.
        uids: of those to take.

    Raises:
        InputError: what the gate refuses a named series for, or ``dicom-unselected`` where it
            holds several stacks and no rule tells which.
    """
    verdicts = _verdicts(series, True)
    for one in series:
        if one.uid not in uids:
            continue
        own = [v for v in verdicts if v.series is one and v.part.stack is not None]
        if not own:
            refusals = [part.refusal for part in one.parts if part.refusal is not None]
            raise refusals[0]
        if len(own) > 1:
            own = [v for v in own if v.rule in _RULES]
        if len(own) != 1:
            raise InputError(
                Code.DICOM_UNSELECTED,
                f"{one.title} holds {len(one.parts)} stacks of slices, and the rules do not tell "
                "which one is the scan; export that one as a series of its own",
            )
        own[0].chosen, own[0].rule, own[0].reason = True, "named", "it was named by --series"
    return Selection(series[0].study_uid if series else "", verdicts)


def _verdicts(series: Sequence[Series], allow_contrast_agent: bool) -> list[Verdict]:
    """Of all parts, in the order of their series."""
    known = {part: facts for one in series for part, facts in _facts(one)}
    whole = [facts for part, facts in known.items() if part.stack is not None]
    agents = [facts.started for facts in whole if facts.agent and facts.started]
    for part, facts in known.items():
        known[part] = replace(facts, late=bool(agents) and facts.started > min(agents))
    verdicts = []
    for one in series:
        for part in one.parts:
            if part.stack is not None:
                verdicts.append(_judge(one, part, known[part], allow_contrast_agent))
                continue
            refusal = part.refusal
            assert refusal is not None
            contrast = _expected(known[part], allow_contrast_agent) if part in known else None
            verdicts.append(Verdict(one, part, None, contrast, str(refusal.code), refusal.message))
    return verdicts


def _facts(series: Series) -> Iterator[tuple[Part, Facts]]:
    """The facts of every stack, and of what lacks slices to be one.

    Echoes of one sequence have one repetition time.
    """
    by_tr: dict[float | None, list[Frame]] = {}
    for part in series.parts:
        for frame in part.frames:
            by_tr.setdefault(frame.number("RepetitionTime"), []).append(frame)
    for part in series.parts:
        if part.stack is not None:
            frames, voxel_mm = part.stack.frames, part.stack.voxel_mm
        elif part.refusal is not None and part.refusal.code == Code.DICOM_MISSING_SLICES:
            frames, spacing = part.frames, part.frames[0].spacing
            assert spacing is not None
            voxel_mm = (float(spacing[1]), float(spacing[0]), 0.0)
        else:
            continue
        echoes = distinct_echoes(by_tr[frames[0].number("RepetitionTime")])
        yield part, facts_of(frames, echoes, voxel_mm)


def _expected(facts: Facts, allow_contrast_agent: bool) -> str | None:
    """The contrast of a stack that lacks slices, where it might be taken if it were whole."""
    contrast, _ = _contrast_of(facts)
    return None if _exclusion(facts, contrast, allow_contrast_agent) else contrast


def _contrast_of(facts: Facts) -> tuple[str | None, Rule | None]:
    """The contrast, and the rule that tells it."""
    return next(((name, rule) for name, rule in CONTRASTS if rule.holds(facts)), (None, None))


def _exclusion(facts: Facts, contrast: str | None, allow_contrast_agent: bool) -> Rule | None:
    """The rule for which a stack is not taken."""
    rules = EXCLUSIONS if allow_contrast_agent else (*EXCLUSIONS, *_agent_rules(contrast))
    return next((rule for rule in rules if rule.holds(facts)), None)


def _agent_rules(contrast: str | None) -> tuple[Rule, ...]:
    return (CONTRAST_AGENT, AFTER_AGENT) if contrast == "T1w" else (CONTRAST_AGENT,)


def _judge(series: Series, part: Part, facts: Facts, allow_contrast_agent: bool) -> Verdict:
    contrast, known = _contrast_of(facts)
    assert part.stack is not None
    notes = part.stack.notes
    if any(rule.holds(facts) for rule in _agent_rules(contrast)):
        notes += (Note("contrast-agent", "a contrast agent was given, which is new to the model"),)
    rule = _exclusion(facts, contrast, allow_contrast_agent)
    if rule is not None:
        return Verdict(series, part, facts, contrast, rule.name, rule.reason, notes=notes)
    if known is None:
        reason = f"it fits no rule ({_in_words(facts)})"
        return Verdict(series, part, facts, None, "no-rule", reason, notes=notes)
    if known.name.endswith("-by-name"):
        notes += (
            Note("contrast-by-name", "names tell the contrast; the header does not say enough"),
        )
    return Verdict(series, part, facts, contrast, known.name, known.reason, notes=notes)


def _choose(candidates: list[Verdict], between: Sequence[Verdict]) -> None:
    """Mark the best one, and say of the others what they lack.

    Args:
        candidates: of one contrast.
        between: other series; a repeat that was acquired after one of them does not count.
    """
    best = candidates
    for sentence, key in RANKING:
        if len(best) < 2:
            break
        keys = [key(v.facts) for v in best if v.facts is not None]
        for verdict, value in zip(best, keys, strict=True):
            if value != min(keys):
                verdict.reason += f"; not taken, as {sentence}"
        best = [v for v, value in zip(best, keys, strict=True) if value == min(keys)]
    if not best:
        return
    if len({_title(v) for v in best}) > 1:
        taken, why = best[0], _TIE
    else:
        before = _before(best, [_started(v) for v in between])
        taken, why = before[-1], _REPEAT if len(before) == len(best) else _EARLY
    taken.chosen = True
    if len(best) > 1:
        for verdict in best:
            verdict.reason += f"; {why}" if verdict is taken else f"; not taken: {why}"


def _before(repeats: list[Verdict], others: Sequence[str]) -> list[Verdict]:
    """Those of repeats that no other series precedes, where the times of all are known."""
    if not all(_started(v) for v in repeats):
        return repeats
    first = min(_started(v) for v in repeats)
    end = min((time for time in others if time > first), default="~")
    return [v for v in repeats if _started(v) < end]


def _started(verdict: Verdict) -> str:
    return verdict.facts.started if verdict.facts is not None else ""


def _title(verdict: Verdict) -> str:
    return str(header_value(verdict.series.header, "SeriesDescription") or "").strip().upper()


def _in_words(facts: Facts) -> str:
    parts = [("TR", facts.tr), ("TE", facts.te), ("TI", facts.ti[0] if facts.ti else None)]
    shown = [f"{name} {value:g} ms" for name, value in parts if value is not None]
    kind = "gradient echo" if facts.gradient else "spin echo" if facts.spin else "unknown echo"
    return ", ".join([kind, *shown])
