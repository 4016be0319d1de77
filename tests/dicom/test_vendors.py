"""Vendors' own protocols: the right series, or none, each for the right reason."""

import io
import json

import pytest

pytest.importorskip("pydicom", reason="needs dal_fast[dicom]")

import pydicom
from dicom_lab import scanner, vendors

from dal_fast.dicom.files import HEADER, DicomFile, Source, StudyFiles
from dal_fast.dicom.select import select_series
from dal_fast.dicom.series import find_series


def select(found):
    return select_series(find_series(found, lambda first, second: False))


def rules(selection):
    return {verdict.series.number: verdict.rule for verdict in selection.verdicts}


@pytest.mark.parametrize("name", vendors.STUDIES)
def test_the_right_series_are_chosen(name):
    found, expected = vendors.make(name)
    selection = select(found)
    chosen = {verdict.contrast: verdict.series.number for verdict in selection.chosen}
    assert chosen == expected, json.dumps(selection.record(), indent=1)


def test_each_is_chosen_for_the_right_reason():
    assert rules(select(vendors.make("siemens FLASH and BLADE")[0]))[2] == "t1-spoiled-2d"
    assert rules(select(vendors.make("siemens MP2RAGE")[0]))[4] == "t1-mp2rage-uniform"
    of_ge = rules(select(vendors.make("ge PROPELLER")[0]))
    assert (of_ge[2], of_ge[3], of_ge[4]) == ("t2-spin-echo", "flair", "t1-spoiled-2d")
    assert (of_ge[5], of_ge[7]) == ("diffusion", "no-rule")


def test_a_field_map_is_no_t1_however_it_is_called():
    found, _ = vendors.make("siemens FLASH and BLADE")
    found.images = [file for file in found.images if file.header.SeriesNumber in (1, 10)]
    for file in found.images:
        file.header.SeriesDescription = file.header.ProtocolName = "t1 tra"
        file.header.RepetitionTime = 400
    assert select(found).chosen == []


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"], ids=["implicit", "explicit"]
)
def test_what_ge_says_in_private_is_read_from_every_syntax(syntax):
    """Archives send Implicit VR, in which private attributes have no type of their own."""
    found, expected = vendors.make("ge by its private names alone")
    read = []
    for file in found.images:
        content = io.BytesIO()
        file.header.file_meta = scanner.meta(scanner.CLASSIC, file.header.SOPInstanceUID, syntax)
        file.header.save_as(content, enforce_file_format=True)
        content.seek(0)
        header = pydicom.dcmread(content, specific_tags=list(HEADER))
        read.append(DicomFile(header, Source(file.source.path)))
    selection = select(StudyFiles(read))
    assert {v.contrast: v.series.number for v in selection.chosen} == expected
    assert rules(selection)[3] == "component"
