"""What all written objects share: identity, patient and study, references to the source, origin.

UIDs follow from the content and the parameters: whoever screens the same series twice gets the same
objects, so that a PACS never holds them twice. Patient and study are copied from the source byte
for byte, whatever character set they are in; our own text is ASCII.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import validate_value

from dal_fast._version import __version__
from dal_fast.dicom.classes import CLASSIC
from dal_fast.dicom.files import read_dataset
from dal_fast.dicom.select import Verdict
from dal_fast.screening.result import Result

NOT_FOR_DIAGNOSIS = "Research. Not for diagnosis."
"""In every object."""
COPIED = (
    "SpecificCharacterSet", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
    "StudyDescription", "PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID",
    "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "StudyID",
    "PatientIdentityRemoved", "DeidentificationMethod",
)  # fmt: skip
"""Attributes of patient and study that the objects take from the source."""
_REQUIRED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Those that an object must have, empty where the source has none."""
_OPTIONAL = ("PatientAge", "PatientSize", "PatientWeight")
"""Those that are left out where their value is none that the standard allows."""
SCHEME = "99DALFAST"
"""Designator of our own codes."""
OBJECTS = {
    "seg": ("Segmentation Storage", 1),
    "map": ("Parametric Map Storage", 2),
    "mr": ("MR Image Storage", 3),
    "sc": ("Secondary Capture Image Storage", 4),
    "sr": ("Comprehensive 3D SR Storage", 5),
    "map16": ("Parametric Map Storage", 6),
    "overlay": ("Secondary Capture Image Storage", 7),
    "pdf": ("Encapsulated PDF Storage", 8),
}
"""Kinds of objects: their class, and the last digit of their series number."""
_TITLES = {
    "seg": "segmentation", "map": "anomaly map", "mr": "anomaly images", "sc": "pictures",
    "sr": "report", "map16": "map in 16 bits", "overlay": "slices", "pdf": "page",
}  # fmt: skip
_WHOLE = ("ReferencedInstanceSequence", "ReferencedSOPSequence", "SourceInstanceSequence")
"""Sequences of references to instances as a whole."""
_LARGEST_NUMBER = 2**31 // 100 - 1


@dataclass(frozen=True, eq=False)
class Finding:
    """A screened series, ready to be written.

    Attributes:
        verdict: the series and its stack.
        result: of the screening, on the grid of the stack.
        content: SHA-256 of what was screened.
    """

    verdict: Verdict
    result: Result
    content: str

    @cached_property
    def _seed(self) -> str:
        parameters = json.dumps(self.result.parameters, sort_keys=True, default=str)
        return f"{self.content}/{__version__}/{hashlib.sha256(parameters.encode()).hexdigest()}"

    def uid(self, what: str) -> str:
        """A UID that is the same for the same input, parameters and version."""
        return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{self._seed}/{what}').int}"

    @property
    def study_uid(self) -> str:
        """Of the source's study."""
        return self.verdict.series.study_uid or self.uid("study")

    @cached_property
    def frame_of_reference(self) -> str:
        """Of the source, or one of our own where it has none, or one for every slice."""
        named = {frame.text("FrameOfReferenceUID") for frame in self.verdict.stack.frames}
        return (named.pop() if len(named) == 1 else "") or self.uid("space")

    def series_number(self, kind: str) -> int:
        """The source's number with the digits of the kind behind it."""
        return 100 * max(0, min(self.verdict.series.number, _LARGEST_NUMBER)) + OBJECTS[kind][1]

    @cached_property
    def contrast(self) -> str:
        """What the model took the scan for."""
        return str(self.result.parameters.get("contrast", ""))

    def description(self, kind: str) -> str:
        """Of the series of a kind."""
        return f"dal_fast {_TITLES[kind]}. {NOT_FOR_DIAGNOSIS}"

    @cached_property
    def sources(self) -> list[Dataset]:
        """One data set a slice, in the order of the stack: identity and geometry alone."""
        return [self._source(k) for k in range(len(self.verdict.stack.frames))]

    def _source(self, k: int) -> Dataset:
        frame = self.verdict.stack.frames[k]
        source = Dataset()
        source.SOPClassUID = CLASSIC
        source.SOPInstanceUID = self.source_uid(k)
        source.StudyInstanceUID = self.study_uid
        source.SeriesInstanceUID = self.verdict.series.uid
        source.FrameOfReferenceUID = self.frame_of_reference
        source.Modality, source.SeriesNumber, source.InstanceNumber = "MR", 1, k + 1
        source.Rows, source.Columns = frame.shape
        source.PositionReferenceIndicator = None
        assert frame.position is not None
        source.ImagePositionPatient = [_decimal(value) for value in frame.position]
        axes = self.verdict.stack.affine[:3, :2] / np.array(self.verdict.stack.voxel_mm[:2])
        lps = np.diag([-1, -1, 1]) @ axes
        source.ImageOrientationPatient = [_decimal(value) for value in (*lps[:, 0], *lps[:, 1])]
        columns, rows, _ = self.verdict.stack.voxel_mm
        source.PixelSpacing = [_decimal(rows), _decimal(columns)]
        source.SliceThickness = _decimal(self.gap_mm)
        for keyword in _REQUIRED:
            setattr(source, keyword, None)
        return source

    @cached_property
    def gap_mm(self) -> float:
        """Distance of neighbouring slices along their normal."""
        affine = self.verdict.stack.affine
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        return float(abs(affine[:3, 2] @ normal) / np.linalg.norm(normal))

    def source_uid(self, k: int) -> str:
        """Of the instance that holds slice ``k``; a stand-in where it holds several slices."""
        frame = self.verdict.stack.frames[k]
        return frame.sop_uid if frame.file.header.SOPClassUID == CLASSIC else self.uid(f"slice {k}")

    def pixel_measures(self) -> Any:
        """Spacing within and between slices."""
        columns, rows, _ = self.verdict.stack.voxel_mm
        return hd.PixelMeasuresSequence(
            pixel_spacing=(rows, columns),
            slice_thickness=self.gap_mm,
            spacing_between_slices=self.gap_mm,
        )

    def equipment(self) -> dict[str, Any]:
        """Arguments of highdicom's objects that say who made them."""
        return {
            "manufacturer": "dal_fast",
            "manufacturer_model_name": "dal_fast",
            "software_versions": __version__,
            "device_serial_number": str(self.result.parameters.get("weights_sha256", "0"))[:16],
        }

    def identity(self, kind: str) -> dict[str, Any]:
        """Arguments of highdicom's objects that identify them."""
        return {
            "series_instance_uid": self.uid(f"{kind} series"),
            "series_number": self.series_number(kind),
            "sop_instance_uid": self.uid(kind),
            "instance_number": 1,
            "series_description": self.description(kind),
        }

    def algorithm(self) -> Any:
        """The identification of the model."""
        parameters: dict[str, str] = {
            key: str(self.result.parameters[key])[:60]
            for key in ("weights_sha256", "score", "threshold", "contrast")
            if key in self.result.parameters
        }
        return hd.AlgorithmIdentificationSequence(
            name="dal_fast",
            version=__version__,
            family=codes.cid7162.ArtificialIntelligence,
            parameters=parameters,
        )

    def finish(self, made: Dataset) -> Dataset:
        """The object with patient, study and references of the source, and UIDs that repeat."""
        self._point_to_frames(made)
        if made.Modality != "SR":
            made.BodyPartExamined = "BRAIN"  # has no sides, so that no laterality is asked for
        organisations: dict[str, str] = {}
        for element in made.iterall():
            if element.keyword == "DimensionOrganizationUID":
                number = len(organisations)
                value = str(element.value)
                element.value = organisations.setdefault(
                    value, self.uid(f"{made.SOPInstanceUID} dimensions {number}")
                )
        for keyword, element in self._patient.items():
            if keyword in made:
                delattr(made, keyword)
            if element is not None:
                made[element.tag] = element
        if "StudyInstanceUID" in made:
            made.StudyInstanceUID = self.study_uid
        return made

    @cached_property
    def _patient(self) -> dict[str, Any]:
        """Elements of the source as they stand in its file; type 2 ones empty where absent."""
        first = self.verdict.stack.frames[0].file.source
        header = read_dataset(first, list(COPIED), pixels=False)
        found: dict[str, Any] = {}
        for keyword in COPIED:
            tag = pydicom.tag.Tag(keyword)
            element: Any = header.get_item(tag) if tag in header else None
            if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
                element = element._replace(
                    VR=dictionary_VR(tag), is_implicit_VR=False, is_little_endian=True
                )
            if keyword in _OPTIONAL and not _is_valid(element):
                continue
            if element is not None:  # the character set is never raw
                found[keyword] = element
        for keyword in _REQUIRED:
            tag = pydicom.tag.Tag(keyword)
            empty = RawDataElement(tag, dictionary_VR(tag), 0, b"", 0, False, True)
            found.setdefault(keyword, empty)
        found.setdefault("SpecificCharacterSet", None)
        return found

    def _point_to_frames(self, made: Dataset) -> None:
        """Put frame numbers of the real instances where stand-ins were named."""
        frames = {self.source_uid(k): frame for k, frame in enumerate(self.verdict.stack.frames)}
        if all(uid == frame.sop_uid for uid, frame in frames.items()):
            return
        for holder in _holders(made):
            for keyword in ("SourceImageSequence", "ReferencedSOPSequence"):
                for item in holder.get(keyword, ()):
                    frame = frames.get(str(item.get("ReferencedSOPInstanceUID", "")))
                    if frame is not None:
                        item.ReferencedSOPClassUID = frame.file.header.SOPClassUID
                        item.ReferencedSOPInstanceUID = frame.sop_uid
                        item.ReferencedFrameNumber = frame.index + 1
            for keyword in _WHOLE:
                if keyword in holder:
                    setattr(holder, keyword, _once(holder[keyword].value, frames, keyword))


def _once(items: Sequence[Dataset], frames: dict[str, Any], keyword: str) -> list[Dataset]:
    """References to whole instances: each instance once, without frame numbers."""
    kept: dict[str, Dataset] = {}
    for item in items:
        frame = frames.get(str(item.ReferencedSOPInstanceUID))
        if frame is not None:
            item.ReferencedSOPClassUID = frame.file.header.SOPClassUID
            item.ReferencedSOPInstanceUID = frame.sop_uid
        elif keyword == "ReferencedSOPSequence" and "ReferencedFrameNumber" in item:
            return list(items)  # a reference within the content of a report
        kept.setdefault(str(item.ReferencedSOPInstanceUID), item)
    return list(kept.values())


def _holders(dataset: Dataset) -> list[Dataset]:
    """A data set and all that are nested in it."""
    found = [dataset]
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                found += _holders(item)
    return found


def _is_valid(element: Any) -> bool:
    """Whether an element's value is one that its kind may have."""
    if element is None:
        return False
    value = element.value.decode("ascii", "replace") if element.is_raw else str(element.value)
    try:
        validate_value(element.VR, value.strip(" \0"), pydicom.config.RAISE)
    except ValueError:
        return False
    return True


def slices_of(data: NDArray[Any]) -> NDArray[Any]:
    """(I, J, K) as frames (K, rows, columns)."""
    return data.transpose(2, 1, 0)


def _decimal(value: float) -> str:
    """A number in at most 16 characters."""
    for digits in range(16, 5, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{value:.6e}"


def concept(value: str, meaning: str) -> Any:
    """A code of our own; at most 16 and 64 characters are kept."""
    return hd.sr.CodedConcept(value[:16], SCHEME, meaning[:64])
