"""The secondary capture: three planes through the strangest place, with the notice burned in."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw
from pydicom.dataset import Dataset

from dal_fast.dicom.objects import NOT_FOR_DIAGNOSIS, Finding
from dal_fast.report.page import plane_pictures

_RIM, _LINE = 8, 16
"""Pixels around the pictures, and of a line of text."""
_ENLARGED = 2


def make_secondary_capture(finding: Finding) -> Dataset:
    """One colour picture."""
    made = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=finding.sources[0],
        pixel_array=_sheet(finding),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        **finding.identity("sc"),
        manufacturer="dal_fast",
    )
    made.BurnedInAnnotation = "YES"
    made.ImageComments = NOT_FOR_DIAGNOSIS
    made.ContentQualification = "RESEARCH"
    made.ConversionType = "WSD"
    made.ManufacturerModelName = "dal_fast"
    made.PatientOrientation = []  # three planes have none in common
    return finding.finish(made)


def _sheet(finding: Finding) -> NDArray[np.uint8]:
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
        f"{result.volume_ml:.1f} mL in {len(result.regions)} regions; {side}",
        NOT_FOR_DIAGNOSIS,
    )
    for number, line in enumerate(lines):
        place = (_RIM, 2 * height + 2 * _RIM + number * _LINE)
        draw.text(place, line, fill=(255, 255, 255))
    return np.asarray(picture)


def _large(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1)
    return rgb.repeat(_ENLARGED, 0).repeat(_ENLARGED, 1)
