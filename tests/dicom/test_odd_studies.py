"""Studies that no protocol plans: what was acquired together, after an agent, or exported badly."""

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="needs dal_fast[dicom]")

from dicom_lab import studies

from dal_fast.dicom.files import StudyFiles
from dal_fast.dicom.select import select_named, select_series
from dal_fast.dicom.series import find_series
from dal_fast.dicom.study import unselected

AGENT = {"ContrastBolusAgent": "Gadobutrol"}


def listed(*rows, vendor="siemens"):
    """Files of series: (name, kind, changes), numbered from 1, each a minute after the other."""
    files = []
    for number, (name, kind, changes) in enumerate(rows, 1):
        times = {"AcquisitionDate": "20240131", "AcquisitionTime": f"10{number:02d}00.5"}
        made = list(studies.series_files(vendor, "1.2.3", number, name, kind, changes))
        for file in made:
            for key, value in (times | changes).items():
                if key.startswith("Acquisition"):
                    setattr(file.header, key, value)
        files.append(made)
    return files


def chosen(files, **options):
    """Series number and slices by contrast."""
    found = StudyFiles([file for series in files for file in series])
    series = find_series(found, lambda first, second: False)
    selection = select_series(series, **options)
    return {v.contrast: (v.series.number, len(v.part.frames)) for v in selection.chosen}, selection


def test_a_t1_after_an_agent_is_not_taken_though_it_does_not_say_so():
    files = listed(("t1 3d", "t1 3d", {}), ("perf", "perfusion", AGENT), ("t1 3d", "t1 3d", {}))
    found, selection = chosen(files)
    assert found == {"T1w": (1, 176)}
    assert selection.verdicts[-1].rule == "after-contrast-agent"
    found, _ = chosen(files[1:])
    assert found == {}


def test_a_t1_after_an_agent_is_taken_with_a_note_on_request():
    files = listed(("perf", "perfusion", AGENT), ("t1 3d", "t1 3d", {}))
    found, selection = chosen(files, allow_contrast_agent=True)
    assert found == {"T1w": (2, 176)}
    assert [note.code for note in selection.chosen[0].notes] == ["contrast-agent"]


def test_t2_and_flair_after_an_agent_are_taken():
    files = listed(("perf", "perfusion", AGENT), ("t2", "t2 2d", {}), ("flair", "flair 2d", {}))
    assert chosen(files)[0].keys() == {"T2w", "FLAIR"}


def test_without_times_the_order_of_series_says_nothing():
    files = listed(("perf", "perfusion", AGENT), ("t1 3d", "t1 3d", {"AcquisitionTime": None}))
    assert chosen(files)[0] == {"T1w": (2, 176)}


def test_of_two_echoes_in_one_series_the_late_one_is_the_t2():
    (early,) = listed(("pd t2", "pd", {}))
    (late,) = listed(("pd t2", "t2 2d", {}))
    for place, half in enumerate((early, late), 1):
        for number, file in enumerate(half):
            file.header.SOPInstanceUID = f"1.2.3.{place}.{number}"
            file.header.EchoNumbers = place
            file.header.EchoTime = (14, 101)[place - 1]
            file.header.RepetitionTime, file.header.ScanningSequence = 3500, "SE"
    found, selection = chosen([early + late])
    assert found == {"T2w": (1, 28)}
    assert [v.rule for v in selection.verdicts] == ["proton-density", "t2-spin-echo"]


def test_of_three_planes_in_one_series_one_is_taken():
    planes = {"tra": (1, 0, 0, 0, 1, 0), "cor": (1, 0, 0, 0, 0, -1), "sag": (0, 1, 0, 0, 0, -1)}
    files = []
    for place, axes in enumerate(planes.values()):
        (made,) = listed(("t2 tse 3 planes", "t2 2d", {}))
        normal = np.cross(axes[:3], axes[3:])
        for number, file in enumerate(made):
            file.header.SOPInstanceUID = f"1.2.3.{place}.{number}"
            file.header.ImageOrientationPatient = [str(a) for a in axes]
            file.header.ImagePositionPatient = [f"{v:.3f}" for v in normal * 5.0 * number]
        files += made
    found, selection = chosen([files])
    assert found == {"T2w": (1, 28)}
    assert len(selection.verdicts) == 3
    assert len({id(v) for v in selection.chosen}) == 1


def test_all_series_under_one_uid_are_told_apart_by_how_they_were_acquired():
    files = listed(
        ("localizer", "loc", {}), ("t1", "t1 3d", {}), ("t2", "t2 2d", {}), ("dwi", "dwi", {}),
        ("flair", "flair 2d", {}),
    )  # fmt: skip
    for series in files:
        for file in series:
            file.header.SeriesInstanceUID = "1.2.3.4"
    found, _ = chosen(files)
    assert {contrast: slices for contrast, (_, slices) in found.items()} == {
        "T1w": 176, "T2w": 28, "FLAIR": 28
    }  # fmt: skip


@pytest.mark.parametrize("text", ["MRI FETAL BRAIN", "Fetus head"])
def test_the_brain_of_the_unborn_is_not_that_of_the_patient(text):
    files = listed(("t2 haste", "t2 2d", {"StudyDescription": text}))
    assert chosen(files)[0] == {}


def test_an_agent_that_one_slice_names_counts():
    (files,) = listed(("t1", "t1 3d", {}))
    files[90].header.ContrastBolusAgent = "GADOVIST"
    assert chosen([files])[0] == {}


def test_a_map_that_a_scanner_computes_is_not_taken():
    rows = [
        (name, "t2 2d", {"ImageType": kind})
        for name, kind in (
            ("T2 MAP: Sag", ["DERIVED", "SECONDARY", "T2 MAP"]),
            ("T2", ["DERIVED", "PRIMARY", "T2 MAP"]),
            ("t2", ["DERIVED", "PRIMARY", "M", "T2 MAP", "ND"]),
            ("synthetic T2", ["DERIVED", "PRIMARY", "OTHER"]),
        )
    ]
    assert chosen(listed(*rows, vendor="ge"))[0] == {}


def test_one_slice_missing_leaves_the_other_series():
    files = listed(("t2", "t2 2d", {}), ("t1", "t1 3d", {}))
    del files[0][11]
    found, selection = chosen(files)
    assert found == {"T1w": (2, 176)}
    refused = selection.verdicts[0]
    assert refused.rule == "dicom-missing-slices"
    assert refused.reason.startswith("series 1 lacks 1 slice, behind the one at ")


def test_a_named_series_of_several_stacks_is_the_one_that_a_rule_knows():
    (early,) = listed(("pd t2", "pd", {}))
    (late,) = listed(("pd t2", "t2 2d", {}))
    for file in late:
        file.header.SOPInstanceUID += ".7"
    series = find_series(StudyFiles(early + late), lambda first, second: False)
    (verdict,) = select_named(series, [series[0].uid]).chosen
    assert verdict.contrast == "T2w"


def test_a_series_uid_for_every_image_is_named_as_the_reason():
    (files,) = listed(("t1", "t1 3d", {}))
    for number, file in enumerate(files):
        file.header.add_new("SeriesInstanceUID", "UI", f"1.2.3.{number}")
    found, selection = chosen([files])
    assert found == {}
    assert unselected(selection).message.endswith("so that the images of a series keep one")


def test_why_another_series_is_taken_is_said_in_a_sentence():
    plain = {"ImageType": ["ORIGINAL", "PRIMARY", "M"]}
    files = listed(
        ("t1", "t1 3d", plain),
        ("t1", "t1 3d", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"]}),
        vendor="siemens",
    )
    found, selection = chosen(files)
    assert found == {"T1w": (2, 176)}
    assert selection.verdicts[0].reason.endswith(
        "; not taken, as an intensity-normalised series comes before one that is not"
    )


@pytest.mark.parametrize("others", [[], [("perf", "perfusion", {})]])
def test_where_the_only_scan_lacks_a_slice_that_is_the_reason(others):
    files = listed(("t1", "t1 3d", {}), *others)
    del files[0][11]
    found, selection = chosen(files)
    assert found == {}
    error = unselected(selection)
    assert error.code == "dicom-missing-slices"
    assert "series 1 lacks 1 slice" in error.message
    assert error.message.endswith("export all of it")


def test_a_series_that_would_not_be_taken_anyway_is_not_the_reason():
    files = listed(("perf", "perfusion", {}), ("t1", "t1 3d", AGENT))
    del files[0][11]
    assert chosen(files)[0] == {}
    assert unselected(chosen(files)[1]).code == "dicom-unselected"
