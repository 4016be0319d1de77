"""Secondary captures with the notice burned in: three planes, and every slice with its anomalies.

The three planes go through the strangest place. The slices lie as in the source: the same rows and
columns, so that a viewer can scroll both side by side.
"""

from __future__ import annotations

from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dal_fast.dicom.objects import NOT_FOR_DIAGNOSIS, Finding, slices_of
from dal_fast.imaging.text import counted
from dal_fast.report import colour
from dal_fast.report.outline import scan_window
from dal_fast.report.page import SCALE_TOP, plane_pictures

_RIM, _LINE = 8, 16
"""Pixels around the pictures, and of a line of text."""
_ENLARGED = 2
_ALONG = 0.1
"""Cosine from which a direction is said to lead along an axis, too."""


def make_secondary_capture(finding: Finding) -> Dataset:
    """One colour picture."""
    made = _capture(finding, 0, sheet(finding), finding.identity("sc"))
    made.PatientOrientation = []  # three planes have none in common
    return finding.finish(made)


def make_overlays(finding: Finding) -> list[Dataset]:
    """One colour picture for each slice that holds brain: the scan, and the map over it."""
    result = finding.result
    scan, anomaly = slices_of(result.scan.data), slices_of(result.anomaly.data)
    window = scan_window(result.scan, result.brain_mask)
    made = []
    for k in np.flatnonzero(result.brain_mask.data.any((0, 1))).tolist():
        background = colour.grey(scan[k], window)
        top = SCALE_TOP * result.threshold
        pixels = colour.overlay(background, anomaly[k], result.threshold, top)
        identity = finding.identity("overlay") | {
            "sop_instance_uid": finding.uid(f"overlay {k}"),
            "instance_number": k + 1,
        }
        source = finding.sources[k]
        picture = _capture(finding, k, _labelled(pixels), identity)
        picture.PixelSpacing = source.PixelSpacing
        picture.PatientOrientation = [
            _letters(np.array(direction, np.float64))
            for direction in (
                source.ImageOrientationPatient[:3],
                source.ImageOrientationPatient[3:],
            )
        ]
        reference = Dataset()
        reference.ReferencedSOPClassUID = source.SOPClassUID
        reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
        picture.SourceImageSequence = [reference]
        made.append(finding.finish(picture))
    return made


def _capture(
    finding: Finding, k: int, pixels: NDArray[np.uint8], identity: dict[str, Any]
) -> Dataset:
    """A Secondary Capture object beside slice ``k``."""
    made = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=finding.sources[k],
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **identity,
        manufacturer="dal_fast",
    )
    made.BurnedInAnnotation = "YES"
    made.ImageComments = NOT_FOR_DIAGNOSIS
    made.ContentQualification = "RESEARCH"
    made.ConversionType = "WSD"
    made.ManufacturerModelName = "dal_fast"
    return made


def _labelled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with the notice at its foot."""
    picture = Picture.fromarray(pixels)
    ImageDraw.Draw(picture).text(
        (2, pixels.shape[0] - _LINE), NOT_FOR_DIAGNOSIS, fill=(255, 255, 255)
    )
    return np.asarray(picture)


def _letters(direction: NDArray[np.float64]) -> str:
    """Where a direction in LPS axes leads, the main axis first: ``L``, ``PH``, …"""
    order = [axis for axis in np.argsort(-np.abs(direction)) if abs(direction[axis]) > _ALONG]
    return "".join(("LR", "PA", "HF")[axis][int(direction[axis] < 0)] for axis in order)


def sheet(finding: Finding) -> NDArray[np.uint8]:
    """Scan above, anomaly below, a column a plane, text at the foot."""
    result = finding.result
    columns = plane_pictures(result)
    enlarged = [[_large(pixels) for pixels in column] for column in columns]
    widths = [column[0].shape[1] for column in enlarged]
    height = max(column[0].shape[0] for column in enlarged)
    sheet = np.zeros((2 * height + 3 * _RIM + 3 * _LINE, sum(widths) + 4 * _RIM, 3), np.uint8)
    left = _RIM
    for column in enlarged:
        for row, pixels in enumerate(column):
            top = _RIM + row * (height + _RIM)
            sheet[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        left += column[0].shape[1] + _RIM
    picture = Picture.fromarray(sheet)
    draw = ImageDraw.Draw(picture)
    side = "right of the patient is on the left" if result.side_known else "left/right uncertain"
    lines = (
        f"dal_fast: {finding.verdict.name}, score {result.score:.3f}",
        f"{result.volume_ml:.1f} mL in {counted(len(result.regions), 'region')}; {side}",
        NOT_FOR_DIAGNOSIS,
    )
    for number, line in enumerate(lines):
        place = (_RIM, 2 * height + 2 * _RIM + number * _LINE)
        draw.text(place, line, fill=(255, 255, 255))
    return np.asarray(picture)


def _large(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1)
    return rgb.repeat(_ENLARGED, 0).repeat(_ENLARGED, 1)
