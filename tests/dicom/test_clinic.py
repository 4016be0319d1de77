"""Of ordinary clinical studies, in any language and after anonymisation, the right series."""

import json

import pytest

pytest.importorskip("pydicom", reason="needs dal_fast[dicom]")

from dicom_lab import clinic, studies

from dal_fast.dicom.files import StudyFiles
from dal_fast.dicom.select import select_series
from dal_fast.dicom.series import find_series


def make(name):
    """A study's files; each series five minutes after the one before."""
    vendor, rows, expected = clinic.CLINIC[name]
    found = StudyFiles()
    for number, (title, kind, *changes) in enumerate(rows, 1):
        merged = {key: value for change in changes for key, value in change.items()}
        gone = [key for key, value in merged.items() if value is None]
        given = {key: value for key, value in merged.items() if value is not None}
        minutes = 5 * number
        for file in studies.series_files(vendor, f"1.2.{len(name)}", number, title, kind, given):
            file.header.SpecificCharacterSet = "ISO_IR 192"
            file.header.AcquisitionDate = "20240131"
            file.header.AcquisitionTime = f"{10 + minutes // 60:02}{minutes % 60:02}00"
            for key in gone:
                if key in file.header:
                    delattr(file.header, key)
            found.images.append(file)
    return found, expected


def select(found):
    return select_series(find_series(found, lambda first, second: False))


@pytest.mark.parametrize("name", clinic.CLINIC)
def test_the_right_series_of_an_ordinary_study(name):
    found, expected = make(name)
    selection = select(found)
    chosen = {verdict.contrast: verdict.series.number for verdict in selection.chosen}
    assert chosen == expected, json.dumps(selection.record(), indent=1, ensure_ascii=False)
    flags = {note.code for verdict in selection.chosen for note in verdict.notes}
    by_name = name in clinic.BY_NAME
    assert ("contrast-by-name" in flags) == by_name


def test_an_agent_may_lie_between_two_runs():
    found, _ = make("MPRAGE, then other series, then MPRAGE again")
    first, *_, last = select(found).verdicts
    assert "an agent may have been given" in first.reason
    assert last.reason.count("not taken") == 1
