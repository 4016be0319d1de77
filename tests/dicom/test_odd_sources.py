"""Objects of series that are read with a flag: still without errors, still where the slices lie."""

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs dal_fast[dicom]")

from dicom_lab import edits, findings, scanner, tools
from pydicom import dcmread

ODD = {
    "rounded-positions": edits.each(edits.rounded_positions),
    "reference-replaced": edits.own_uid("FrameOfReferenceUID"),
    "odd-slices": edits.screenshot,
}


@pytest.mark.parametrize("flag", ODD)
def test_objects_of_an_odd_series(flag, tmp_path):
    data, affine = scanner.small_head(), scanner.turned()
    scanner.write(ODD[flag](scanner.classic(data, affine)), tmp_path / "study")
    finding = findings.make_finding(tmp_path / "study")
    assert flag in [note.code for note in finding.verdict.notes]
    paths = findings.write_all(finding, tmp_path / "out")
    places = {tuple(np.round(frame.position, 2)) for frame in finding.verdict.stack.frames}
    for kind in ("seg", "map", "sr"):
        (path,) = paths[kind]
        assert tools.errors_of(path) == []
        for group in dcmread(path).get("PerFrameFunctionalGroupsSequence", ()):
            place = group.PlanePositionSequence[0].ImagePositionPatient
            assert tuple(np.round(np.array(place, float), 2)) in places
