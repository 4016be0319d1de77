"""Studies: what a folder or archive holds, what is chosen of it, and where its results go."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dal_fast.batch.job import Job
from dal_fast.dicom import quiet
from dal_fast.dicom.files import StudyFiles, find_files
from dal_fast.dicom.frames import header_value
from dal_fast.dicom.geometry import FEWEST_SLICES
from dal_fast.dicom.names import Names
from dal_fast.dicom.pixels import same_pixels
from dal_fast.dicom.select import Selection, Verdict, select_named, select_series
from dal_fast.dicom.series import Series, find_series
from dal_fast.errors import Code, InputError
from dal_fast.imaging.atomic import write_json
from dal_fast.imaging.folders import make_folder
from dal_fast.imaging.orientation import Note
from dal_fast.imaging.text import counted

if TYPE_CHECKING:
    from dal_fast.report.index import Failure

_LISTED = 4  # reasons in a message


@dataclass(frozen=True, eq=False)
class Study:
    """One study and what was decided about its series.

    Attributes:
        name: of its folder among the results: ``study-`` and a hash of its UID.
        patient: name and number, shown on request alone.
        selection: a verdict for each part of each series.
    """

    name: str
    patient: str
    selection: Selection


@dataclass(frozen=True, eq=False)
class Studies:
    """All that a folder or archive holds.

    Attributes:
        source: the folder or archive.
        studies: in the order of their UIDs.
        files: of all of them.
        names: what nothing may show.
        whole: every series of the studies was decided about, not those alone that were named.
    """

    source: Path
    studies: list[Study]
    files: StudyFiles
    names: Names
    whole: bool = True

    def jobs(self, out: Path) -> dict[Job, Verdict]:
        """What is to be screened; a job's path is a name alone, ``SOURCE/study-…/series-…``."""
        return {
            Job(self.source / study.name / verdict.name, out / study.name): verdict
            for study in self.studies
            for verdict in study.selection.chosen
        }

    def left_out(self) -> list[Failure]:
        """Studies without a chosen series, and files that cannot be read: name, code, message."""
        refused = [
            (s.name, unselected(s.selection)) for s in self.studies if not s.selection.chosen
        ]
        rows = [(name, str(error.code), self.names.hide(error.message)) for name, error in refused]
        for number, (source, reason) in enumerate(self.files.damaged, 1):
            shown, reason = self.names.damaged(source.name, reason, number)
            rows.append((shown, str(Code.DICOM_DAMAGED), self.names.hide(reason)))
        return rows

    def write_selections(self, out: Path, show_names: bool) -> None:
        """Write ``selection.json`` of every study.

        Raises:
            OutputError: ``output-unwritable``, ``disk-full``.
        """
        for study in self.studies:
            record = study.selection.record()
            if show_names:
                record = {"Patient": study.patient, **record}
            folder = out / study.name
            make_folder(folder)
            write_json(folder / "selection.json", self.names.hide_in(record))


def find_studies(
    source: Path,
    named: Sequence[str] = (),
    allow_contrast_agent: bool = False,
    show_names: bool = False,
) -> Studies:
    """Read headers and choose series.

    Args:
        source: a folder, an archive, or a file.
        named: UIDs of the series to take, or their numbers where only one series has it; none
            leaves the choice to the rules.
        allow_contrast_agent: take series with a contrast agent, too.
        show_names: hide nothing.

    Raises:
        InputError: ``dicom-none``, ``dicom-damaged`` where nothing can be read,
            ``dicom-series-unknown``, or what a named series is refused for; without names.
    """
    files = find_files(source)
    with quiet():
        names = Names(show=True) if show_names else Names.of(files.images)
        try:
            studies = _studies(source, files, names, named, allow_contrast_agent)
        except InputError as error:
            raise InputError(error.code, names.hide(error.message)) from None
    return Studies(source.absolute(), studies, files, names, whole=not named)


def _studies(
    source: Path, files: StudyFiles, names: Names, named: Sequence[str], allow_contrast_agent: bool
) -> list[Study]:
    series = find_series(files, same_pixels)
    if not series:
        where, reason = files.damaged[0]
        shown, reason = names.damaged(where.name, reason, 1)
        more = f", and {len(files.damaged) - 1} more" if len(files.damaged) > 1 else ""
        raise InputError(
            Code.DICOM_DAMAGED,
            f"{source} holds no DICOM image that can be read: {shown}: {reason}{more}",
        )
    named = [_uid_of(series, name, source) for name in named]
    by_study: dict[str, list[Series]] = {}
    for one in series:
        by_study.setdefault(one.study_uid, []).append(one)
    return [
        _study(own, named, allow_contrast_agent, len(files.damaged))
        for own in by_study.values()
        if not named or any(one.uid in named for one in own)
    ]


def _uid_of(series: Sequence[Series], name: str, source: Path) -> str:
    """The UID of a series that is named by its UID or by its number."""
    found = [one.uid for one in series if one.uid == name]
    found = found or [one.uid for one in series if str(one.number) == name]
    if len(found) == 1:
        return found[0]
    problem = (
        f"{source} holds {len(found)} series of the number {name}; name one by its UID"
        if found
        else f"{source} holds no series {name}; name one by its UID or its number"
    )
    raise InputError(Code.DICOM_SERIES_UNKNOWN, f"{problem}, as dal-fast dicom list shows them")


def _study(
    series: Sequence[Series], named: Sequence[str], allow_contrast_agent: bool, damaged: int
) -> Study:
    own = select_named(series, named) if named else select_series(series, allow_contrast_agent)
    if damaged:
        text = (
            f"{counted(damaged, 'file')} beside the series cannot be read and may hold slices of it"
        )
        for verdict in own.chosen:
            verdict.notes += (Note("damaged-files", text),)
    _tell_apart(own.chosen)
    header = series[0].header
    shown = (str(header_value(header, key) or "") for key in ("PatientName", "PatientID"))
    digest = hashlib.sha256(own.study_uid.encode()).hexdigest()[:12]
    return Study(f"study-{digest}", " ".join(shown).strip(), own)


def _tell_apart(chosen: Sequence[Verdict]) -> None:
    """Two series of one number and contrast get names of their own."""
    taken: set[str] = set()
    for verdict in chosen:
        if verdict.name in taken:
            verdict.suffix = hashlib.sha256(verdict.series.uid.encode()).hexdigest()[:6]
        taken.add(verdict.name)


def unselected(selection: Selection) -> InputError:
    """Why nothing of a study was chosen: ``dicom-missing-slices`` or ``dicom-unselected``."""
    whole = any(verdict.part.stack is not None for verdict in selection.verdicts)
    lacking = [v for v in selection.verdicts if v.rule == Code.DICOM_MISSING_SLICES]
    lacking = [v for v in lacking if v.contrast is not None or not whole]
    if lacking:
        return InputError(
            Code.DICOM_MISSING_SLICES,
            "no scan of the study is whole: " + "; ".join(v.reason for v in lacking[:_LISTED]),
        )
    reasons = [
        verdict.reason
        if verdict.reason.startswith(verdict.series.title)
        else f"{verdict.series.title}: {verdict.reason}"
        for verdict in selection.verdicts[:_LISTED]
    ]
    more = len(selection.verdicts) - _LISTED
    return InputError(
        Code.DICOM_UNSELECTED,
        "no series is known to be a T1w, T2w or FLAIR scan of a brain ("
        + "; ".join(reasons)
        + (f"; {more} more" if more > 0 else "")
        + f"); {_hint(selection.verdicts)}",
    )


def _hint(verdicts: Sequence[Verdict]) -> str:
    """What to do about a study of which nothing was chosen."""
    if any(verdict.rule != Code.DICOM_FEW_SLICES for verdict in verdicts):
        return "dal-fast dicom list shows them all; name one with --series UID"
    if len(verdicts) >= FEWEST_SLICES and all(len(v.part.frames) == 1 for v in verdicts):
        return (
            "each image bears a series UID of its own: export or anonymise it again, so that the "
            "images of a series keep one"
        )
    return "give the folder that holds all images of the study"
