"""What the OHIF viewer goes by: the frames of a map, and the places within a report."""

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs dal_fast[dicom]")

from pydicom import dcmread


def test_the_map_has_a_frame_for_every_slice_in_their_order(written):
    finding, paths, _ = written
    # The OHIF viewer 3.13 goes by nothing else.
    for kind in ("map", "map16"):
        ds = dcmread(paths[kind][0])
        groups = ds.PerFrameFunctionalGroupsSequence
        places = [g.PlanePositionSequence[0].ImagePositionPatient for g in groups]
        assert len(places) == len(finding.verdict.stack.frames)
        slices = [frame.position for frame in finding.verdict.stack.frames]
        assert np.allclose(np.array(places, float), np.array(slices, float), atol=1e-3)
    assert np.array_equal(dcmread(paths["map"][0]).pixel_array, finding.result.anomaly.data.T)


def test_all_that_the_report_says_is_somewhere(written):
    finding, paths, folder = written
    sources = {str(ds.SOPInstanceUID): ds for ds in map(dcmread, (folder / "study").iterdir())}
    report = next(
        item for item in dcmread(paths["sr"][0]).ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    )  # fmt: skip
    points = {}  # by tracking identifier
    for group in report.ContentSequence:
        items = group.ContentSequence
        (tracked,) = (str(item.UID) for item in items if item.ValueType == "UIDREF"
                      and item.ConceptNameCodeSequence[0].CodeValue == "112040")  # fmt: skip
        own = points.setdefault(tracked, [])
        own += [
            inner for item in items if item.ValueType == "NUM"
            for inner in item.get("ContentSequence", ()) if inner.ValueType == "SCOORD"
        ]  # fmt: skip
    assert all(len(own) == 1 for own in points.values())
    assert len(points) == 1 + len(finding.result.regions) == 3
    for number, region in enumerate(finding.result.regions, 1):
        (point,) = points[finding.uid(f"region {number}")]
        (seen,) = point.ContentSequence[0].ReferencedSOPSequence
        ds = sources[seen.ReferencedSOPInstanceUID]
        place = ds
        if "NumberOfFrames" in ds:
            group = ds.PerFrameFunctionalGroupsSequence[int(seen.ReferencedFrameNumber) - 1]
            place = group.PlanePositionSequence[0]
        first = np.array(place.ImagePositionPatient, float) * (-1, -1, 1)
        column, row = np.array(point.GraphicData) - 0.5
        axes = finding.result.scan.affine[:3]
        where = first + axes[:, 0] * column + axes[:, 1] * row
        assert np.allclose(where, region.centre, atol=1e-2)
    (box,) = points[finding.uid("scan group")]
    left, top = np.array(box.GraphicData).reshape(-1, 2).min(0)
    right, bottom = np.array(box.GraphicData).reshape(-1, 2).max(0)
    inside = finding.result.brain_mask.data[int(left) : int(right), int(top) : int(bottom)]
    assert inside.sum((0, 1)).max() == finding.result.brain_mask.data.sum((0, 1)).max()
