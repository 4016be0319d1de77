"""Written objects of studies of several kinds."""

import pytest

CASES = [
    ("classic", {}),
    ("classic", {"shear": 4.0}),
    ("classic", {"degrees": (0, 90, 0)}),
    ("enhanced", {}),
    ("shuffled", {"shear": 4.0}),
    ("concatenated", {}),
]
IDS = [
    f"{kind}, {'sheared' if 'shear' in w else 'sagittal' if w else 'oblique'}" for kind, w in CASES
]


@pytest.fixture(scope="module", params=CASES, ids=IDS)
def written(request, tmp_path_factory):
    """A finding, the paths of its objects by kind, and the folder of study and objects."""
    pytest.importorskip("highdicom", reason="needs dal_fast[dicom]")
    from dicom_lab import findings

    kind, where = request.param
    folder = tmp_path_factory.mktemp("written")
    findings.write_study(folder / "study", kind, **where)
    finding = findings.make_finding(folder / "study")
    return finding, findings.write_all(finding, folder / "objects"), folder
