"""Objects that validators accept and that independent readers read back bit by bit."""

import copy
import re
import zlib

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs dal_fast[dicom]")

from dicom_lab import findings, scanner, tools
from dicom_lab.compare import canonical, corners_apart
from dicom_lab.findings import write_all
from pydicom import dcmread

from dal_fast.dicom import quiet
from dal_fast.dicom.objects import NOT_FOR_DIAGNOSIS


def on_grid(file, finding):
    """A NIfTI file's voxels on the finding's own grid, 0 where the file has none.

    dcmqi keeps the axes of the frames, and stands slices upon each other: the shear of a stack is
    not in its grid, the voxels are.
    """
    image = nib.load(file)
    data, ours = np.asarray(image.dataobj), finding.result.scan.affine
    normal = np.cross(ours[:3, 0], ours[:3, 1])
    normal /= np.linalg.norm(normal)
    heights = [a[:3, 3] @ normal for a in (image.affine, ours)]
    first = (heights[0] - heights[1]) / (ours[:3, 2] @ normal)
    assert abs(first - round(first)) < 1e-3
    out = np.zeros(finding.result.scan.data.shape, data.dtype)
    out[:, :, round(first) : round(first) + data.shape[2]] = data
    return out, float(np.abs(image.affine[:3, :2] - ours[:3, :2]).max())


def test_dciodvfy_finds_no_error(written):
    _, paths, _ = written
    for kind in paths.values():
        for path in {kind[0], kind[-1]}:
            assert tools.errors_of(path) == [], path.name


def test_dcentvfy_finds_no_error_together_with_the_sources(written):
    _, paths, folder = written
    everything = [path for kind in paths.values() for path in kind]
    assert tools.errors_of(sorted((folder / "study").iterdir()) + everything, "dcentvfy") == []


def test_dcmqi_reads_the_segmentation_back(written, tmp_path):
    finding, paths, _ = written
    if "sheared" in [note.code for note in finding.verdict.notes]:
        pytest.skip("segimage2itkimage refuses slices that are shifted against each other")
    tools.run("segimage2itkimage", "--inputDICOM", paths["seg"][0], "--outputDirectory", tmp_path,
              "--outputType", "nii")  # fmt: skip
    for number, mask in ((1, finding.result.anomaly_mask), (2, finding.result.brain_mask)):
        read, off = on_grid(tmp_path / f"{number}.nii.gz", finding)
        assert off < 1e-3
        assert np.array_equal(read != 0, mask.data)


def test_the_anomaly_is_brighter_than_the_brain_around_it(written):
    _, paths, _ = written
    anomaly, brain = dcmread(paths["seg"][0]).SegmentSequence
    assert anomaly.RecommendedDisplayCIELabValue[0] > 1.4 * brain.RecommendedDisplayCIELabValue[0]


def test_dcmqi_reads_the_map_back(written, tmp_path):
    finding, paths, _ = written
    tools.run("paramap2itkimage", "--inputDICOM", paths["map"][0], "--outputDirectory", tmp_path,
              "--outputType", "nii")  # fmt: skip
    read, off = on_grid(next(tmp_path.glob("*.nii*")), finding)
    assert off < 1e-3
    assert np.abs(read - finding.result.anomaly.data).max() < 1e-6


def test_the_map_in_16_bits_errs_by_half_a_step(written):
    finding, paths, _ = written
    whole, small = paths["map"][0], paths["map16"][0]
    assert small.stat().st_size < whole.stat().st_size / 2
    ds = dcmread(small)
    (mapping,) = ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    slope = mapping.RealWorldValueSlope
    assert slope == pytest.approx(finding.result.threshold / 2000)
    read = frames_in_place(ds, ds.pixel_array.astype(np.float64) * slope, finding)
    assert np.abs(read - finding.result.anomaly.data).max() <= slope / 2 * 1.001
    assert np.abs(read - finding.result.anomaly.data).max() > 0


def test_values_beyond_16_bits_make_a_larger_step(tmp_path):
    findings.write_study(tmp_path / "study")
    finding = findings.make_finding(tmp_path / "study")
    finding.result.anomaly.data[13, 15, 9] = 1000.0
    ds = dcmread(write_all(finding, tmp_path / "objects")["map16"][0])
    slope = (
        ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0].RealWorldValueSlope
    )
    read = frames_in_place(ds, ds.pixel_array.astype(np.float64) * slope, finding)
    assert read.max() == pytest.approx(1000.0, abs=slope)


def test_overlays_lie_as_the_slices_of_the_source(written):
    finding, paths, _ = written
    held = np.flatnonzero(finding.result.brain_mask.data.any((0, 1)))
    assert len(paths["overlay"]) == len(held)
    pictures = {int(ds.InstanceNumber) - 1: ds for ds in map(dcmread, paths["overlay"])}
    assert sorted(pictures) == list(held)
    assert len({str(ds.SeriesInstanceUID) for ds in pictures.values()}) == 1
    frames = finding.verdict.stack.frames
    for k, ds in pictures.items():
        assert ds.SourceImageSequence[0].ReferencedSOPInstanceUID == frames[k].sop_uid
        assert (ds.Rows, ds.Columns) == frames[k].shape
    ds = pictures[9]  # has an anomaly at columns 12 to 15 and rows 14 to 19
    red, green, blue = (ds.pixel_array[..., c].astype(int) for c in range(3))
    coloured = (red != green) | (green != blue)
    assert coloured[14:20, 12:16].all()
    assert coloured.mean() < 0.5
    assert red[-16:].max() == 255  # the notice


def test_the_page_is_a_pdf_without_names(written):
    _, paths, _ = written
    ds = dcmread(paths["pdf"][0])
    content = ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength]
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    assert ds.MIMETypeOfEncapsulatedDocument == "application/pdf"
    streams = [zlib.decompress(part.split(b"endstream")[0].strip(b"\r\n")) for part in
               content.split(b"stream\n")[1::2] if part[:1] == b"x"]  # fmt: skip
    text = b"".join(streams)
    assert b"Anomaly map of" in text
    assert b"Not for diagnosis" in text
    assert not any(word.encode() in content + text for word in ("Vorname", "Nachname", "PID4711"))


def frames_in_place(ds, pixels, finding, segment=None):
    """Frames on the finding's grid, each by its own position."""
    out = np.zeros(finding.result.scan.data.shape, pixels.dtype)
    inverse = np.linalg.inv(finding.result.scan.affine)
    for group, frame in zip(ds.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        if segment and group.SegmentIdentificationSequence[0].ReferencedSegmentNumber != segment:
            continue
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float) * (-1, -1, 1)
        i, j, k = nib.affines.apply_affine(inverse, place)
        assert abs(i) < 1e-3
        assert abs(j) < 1e-3
        assert abs(k - round(k)) < 1e-3
        out[:, :, round(k)] = frame.T
    return out


def test_every_frame_lies_at_its_own_place(written):
    finding, paths, _ = written
    seg, pm = dcmread(paths["seg"][0]), dcmread(paths["map"][0])
    for number, mask in ((1, finding.result.anomaly_mask), (2, finding.result.brain_mask)):
        read = frames_in_place(seg, seg.pixel_array, finding, number)
        assert np.array_equal(read != 0, mask.data)
    read = frames_in_place(pm, pm.pixel_array, finding)
    assert np.array_equal(read, finding.result.anomaly.data)


def test_every_frame_names_the_frame_that_it_was_made_of(written):
    _, paths, folder = written
    sources = {str(ds.SOPInstanceUID): ds for ds in map(dcmread, (folder / "study").iterdir())}
    seg = dcmread(paths["seg"][0])
    for group in seg.PerFrameFunctionalGroupsSequence:
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        ds = sources[source.ReferencedSOPInstanceUID]
        assert source.ReferencedSOPClassUID == ds.SOPClassUID
        place = ds
        if "NumberOfFrames" in ds:
            number = int(source.ReferencedFrameNumber) - 1
            place = ds.PerFrameFunctionalGroupsSequence[number].PlanePositionSequence[0]
        assert np.allclose(
            np.array(place.ImagePositionPatient, float),
            np.array(group.PlanePositionSequence[0].ImagePositionPatient, float),
        )
    listed = [
        str(item.ReferencedSOPInstanceUID)
        for series in seg.ReferencedSeriesSequence
        for item in series.ReferencedInstanceSequence
    ]
    assert sorted(listed) == sorted(set(listed))
    assert set(listed) <= set(sources)


def test_the_derived_series_is_read_by_our_own_reader(written):
    finding, paths, folder = written
    from pathlib import Path

    from dal_fast.dicom.files import find_files
    from dal_fast.dicom.pixels import read_stack, same_pixels
    from dal_fast.dicom.select import select_series
    from dal_fast.dicom.series import find_series

    alone = folder / "derived"
    if not alone.exists():
        alone.mkdir()
        for path in paths["mr"]:
            (alone / path.name).write_bytes(path.read_bytes())
    series = find_series(find_files(alone), same_pixels)
    assert not select_series(series).chosen  # our own results are never screened again
    volume = read_stack(series[0].parts[0].stack, Path("x"))
    ours, theirs = (
        canonical(volume.data, volume.affine),
        canonical(finding.result.anomaly.data, finding.result.anomaly.affine),
    )
    assert corners_apart(ours, theirs) < 1e-3
    assert np.abs(ours.get_fdata() - theirs.get_fdata()).max() < 2.0 / 4000


def test_tid1500reader_reads_the_report(written, tmp_path):
    import json

    finding, paths, _ = written
    tools.run("tid1500reader", "--inputDICOM", paths["sr"][0], "--outputMetadata",
              tmp_path / "report.json")  # fmt: skip
    read = json.loads((tmp_path / "report.json").read_text())
    regions = [g for g in read["Measurements"] if "segmentationSOPInstanceUID" in g]
    assert len(regions) == len(finding.result.regions) == 2
    values = [float(item["value"]) for item in regions[0]["measurementItems"]]
    first = finding.result.regions[0]
    assert np.allclose(values, [first.volume_ml, first.peak, first.mean], rtol=1e-4)


def test_every_object_says_what_it_is_not_for(written):
    _, paths, _ = written
    for kind in paths.values():
        ds = dcmread(kind[0])
        assert NOT_FOR_DIAGNOSIS in ds.SeriesDescription
        assert len(ds.SeriesDescription) <= 64


def test_patient_and_study_are_those_of_the_source(written):
    _, paths, folder = written
    source = dcmread(next((folder / "study").iterdir()))
    for kind in paths.values():
        ds = dcmread(kind[0])
        for keyword in (*scanner.PATIENT, "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID"):
            assert ds[keyword].value == source[keyword].value, keyword


def test_the_same_input_makes_the_same_objects(written, tmp_path):
    finding, paths, folder = written
    again = write_all(findings.make_finding(folder / "study"), tmp_path / "again")
    times = (
        "ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime",
        "DateOfSecondaryCapture", "TimeOfSecondaryCapture", "ContributionDateTime",
    )  # fmt: skip
    for kind, files in paths.items():
        for path, other in zip(files, again[kind], strict=True):
            first, second = dcmread(path), dcmread(other)
            for ds in (first, second):
                for item in (ds, *ds.get("ContributingEquipmentSequence", ())):
                    for keyword in times:
                        if keyword in item:
                            delattr(item, keyword)
                if "EncapsulatedDocument" in ds:
                    dated = rb"/CreationDate \([^)]*\)|/ID \[[^]]*\]"
                    ds.EncapsulatedDocument = re.sub(dated, b"", ds.EncapsulatedDocument)
            assert first == second, kind
    other = findings.make_finding(folder / "study")
    other.result.parameters["threshold"] = 1.1
    assert other.uid("seg") != finding.uid("seg")


def test_names_are_copied_as_bytes(tmp_path):
    folder = tmp_path / "study"
    findings.write_study(folder)
    for file in folder.iterdir():
        ds = dcmread(file)
        ds.SpecificCharacterSet, ds.PatientName = ["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"
        ds.save_as(file)
    encoded = "山田".encode("iso2022_jp")
    paths = write_all(findings.make_finding(folder), tmp_path / "objects")
    for kind in paths.values():
        assert encoded in kind[0].read_bytes()
        assert str(dcmread(kind[0]).PatientName) == "Yamada^Tarou=山田^太郎"


@pytest.mark.parametrize("label_map", [False, True])
def test_without_an_anomaly_the_brain_is_the_only_segment(tmp_path, label_map):
    findings.write_study(tmp_path / "study")
    finding = findings.make_finding(tmp_path / "study", empty=True)
    paths = write_all(finding, tmp_path / "objects", label_map)
    seg = dcmread(paths["seg"][0])
    labels = [segment.SegmentLabel for segment in seg.SegmentSequence]
    assert labels == ["Background", "Brain"][not label_map :]
    assert np.count_nonzero(seg.pixel_array) == finding.result.brain_mask.data.sum() > 0
    assert tools.errors_of(paths["seg"][0]) == []
    assert tools.errors_of(paths["sr"][0]) == []
    assert "Region" not in str(dcmread(paths["sr"][0]))


def test_a_label_map_on_request(tmp_path):
    findings.write_study(tmp_path / "study")
    finding = findings.make_finding(tmp_path / "study")
    paths = write_all(finding, tmp_path / "objects", label_map=True)
    ds = dcmread(paths["seg"][0])
    assert ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    assert tools.errors_of(paths["seg"][0]) == []
    read = frames_in_place(ds, ds.pixel_array, finding)
    assert np.array_equal(read == 1, finding.result.anomaly_mask.data)
    assert np.array_equal(
        read > 0, finding.result.brain_mask.data | finding.result.anomaly_mask.data
    )


def test_a_series_without_frame_of_reference_gets_one(tmp_path):
    folder = tmp_path / "study"
    findings.write_study(folder)
    for file in folder.iterdir():
        ds = dcmread(file)
        del ds.FrameOfReferenceUID
        ds.save_as(file)
    paths = write_all(findings.make_finding(folder), tmp_path / "objects")
    spaces = {str(dcmread(paths[kind][0]).FrameOfReferenceUID) for kind in ("seg", "map", "mr")}
    assert len(spaces) == 1
    assert copy.copy(spaces).pop().startswith("2.25.")


@pytest.mark.parametrize(("age", "kept"), [("042Y", True), ("42", False)])
def test_an_age_that_the_standard_does_not_allow_is_left_out(tmp_path, age, kept):
    findings.write_study(tmp_path / "study")
    for file in (tmp_path / "study").iterdir():
        ds = dcmread(file)
        ds.PatientWeight = "75"
        with quiet():
            ds.PatientAge = age
            ds.save_as(file)
    paths = write_all(findings.make_finding(tmp_path / "study"), tmp_path / "objects")
    ds = dcmread(paths["seg"][0])
    assert ("PatientAge" in ds) is kept
    assert ds.PatientWeight == 75
    assert tools.errors_of(paths["seg"][0]) == []
