"""The anomaly map as an ordinary MR series, the form that every PACS shows."""

from __future__ import annotations

import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from dal_fast._version import __version__
from dal_fast.dicom.classes import CLASSIC
from dal_fast.dicom.objects import NOT_FOR_DIAGNOSIS, Finding, slices_of
from dal_fast.dicom.parametric_map import WINDOW_TOP

_OF_THE_SOURCE = (
    "StudyInstanceUID", "FrameOfReferenceUID", "Rows", "Columns", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
)  # fmt: skip
IMPLEMENTATION_UID = "2.25.279483718294873619263548172635481726354"
_TOP = 4000
"""Stored value of the display window's upper end; stronger anomalies go on above it."""
_LARGEST = 32767


def make_derived_series(finding: Finding) -> list[Dataset]:
    """One MR image for each slice of the source, in the order of the stack."""
    frames = slices_of(finding.result.anomaly.data)
    top = WINDOW_TOP * finding.result.threshold
    slope = float(f"{max(top / _TOP, float(frames.max()) / _LARGEST):.8g}")
    return [_image(finding, k, frame, slope, top) for k, frame in enumerate(frames)]


def _image(
    finding: Finding, k: int, values: NDArray[np.float32], slope: float, top: float
) -> Dataset:
    source = finding.sources[k]
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CLASSIC, finding.uid(f"mr {k}")
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = UID(CLASSIC)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    for keyword in _OF_THE_SOURCE:
        setattr(made, keyword, source[keyword].value)
    now = datetime.datetime.now()
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.InstanceCreationDate, made.InstanceCreationTime = made.ContentDate, made.ContentTime
    made.SpacingBetweenSlices = source.SliceThickness
    made.PositionReferenceIndicator = ""
    made.ImageType = ["DERIVED", "SECONDARY", "OTHER", "ANOMALY"]
    made.SeriesInstanceUID = finding.uid("mr series")
    made.SeriesNumber, made.InstanceNumber = finding.series_number("mr"), k + 1
    made.SeriesDescription, made.Modality = finding.description("mr"), "MR"
    made.ImageComments, made.BurnedInAnnotation = NOT_FOR_DIAGNOSIS, "NO"
    made.DerivationDescription = f"Anomaly map by dal_fast {__version__}. {NOT_FOR_DIAGNOSIS}"
    made.ContentQualification = "RESEARCH"
    made.Manufacturer, made.ManufacturerModelName = "dal_fast", "dal_fast"
    made.SoftwareVersions = __version__
    made.ScanningSequence, made.SequenceVariant, made.ScanOptions = "RM", "NONE", ""
    made.MRAcquisitionType, made.EchoTime, made.EchoTrainLength = "", "", ""
    made.RepetitionTime, made.PatientPosition = "", ""
    made.AcquisitionNumber = ""
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    made.RescaleSlope, made.RescaleIntercept, made.RescaleType = f"{slope:.8g}", "0", "US"
    made.WindowCenter, made.WindowWidth = f"{top / 2:.8g}", f"{top:.8g}"
    made.SourceImageSequence = Sequence([_reference(source)])
    stored = np.clip(np.round(values / slope), 0, _LARGEST).astype("<u2")
    made.PixelData = stored.tobytes()
    made["PixelData"].VR = "OW"
    return finding.finish(made)


def _reference(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return item
