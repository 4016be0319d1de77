"""One image plane of a DICOM file: where it lies and how it was made, classic or Enhanced."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dal_fast.dicom.classes import CLASSIC
from dal_fast.dicom.files import DicomFile
from dal_fast.errors import Code, InputError

MOST_FRAMES = 100_000
_UNIT = 0.01  # by which direction cosines may miss length 1 and a right angle
_COMPONENTS = {
    "M": "magnitude", "MAGNITUDE": "magnitude", "P": "phase", "PHASE": "phase",
    "PHASE MAP": "phase", "R": "real", "REAL": "real", "I": "imaginary",
    "IMAGINARY": "imaginary", "VELOCITY": "phase", "MIXED": "mixed",
}  # fmt: skip
_GE_ATTRIBUTES = {
    "GEComponent": 0x0043102F, "GEBValue": 0x00431039,
    "GEPulseSequence": 0x0019109C, "GEInternalSequence": 0x0019109E,
}  # fmt: skip
_GE_B_VALUES = 100_000  # some versions add multiples of this to a b-value
_GE_COMPONENTS = {0: "magnitude", 1: "phase", 2: "real", 3: "imaginary"}

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frame:
    """One plane.

    Attributes:
        file: that holds it.
        index: its number within the file, from 0.
        values: attributes of this frame alone, by keyword, from its functional groups.
    """

    file: DicomFile
    index: int
    values: dict[str, Any]

    def get(self, keyword: str) -> Any:
        """An attribute of the frame, else of the file; ``None`` where it is absent or unusable."""
        if keyword in self.values:
            return self.values[keyword]
        return header_value(self.file.header, keyword)

    def text(self, keyword: str) -> str:
        """An attribute as text without blanks around it."""
        value = self.get(keyword)
        return "" if value is None else str(value).strip()

    def texts(self, keyword: str) -> tuple[str, ...]:
        """An attribute of several values, in capitals."""
        value = self.get(keyword)
        values = [value] if isinstance(value, str) or not _is_list(value) else list(value)
        return tuple(str(v).strip().upper() for v in values if v is not None and str(v).strip())

    def number(self, keyword: str) -> float | None:
        """An attribute as a finite number; the first of several."""
        value = self.get(keyword)
        if _is_list(value):
            value = value[0] if len(value) else None
        return _float(value)

    def vector(self, keyword: str, length: int) -> Vector | None:
        """An attribute of exactly ``length`` finite numbers."""
        value = self.get(keyword)
        if not _is_list(value) or len(value) != length:
            return None
        numbers = [_float(v) for v in value]
        return None if None in numbers else np.array(numbers, np.float64)

    @property
    def sop_uid(self) -> str:
        """Of the instance that holds the frame."""
        return str(self.file.header.SOPInstanceUID)

    @cached_property
    def position(self) -> Vector | None:
        """(3,) centre of the first pixel, mm, in the patient's LPS axes."""
        return self.vector("ImagePositionPatient", 3)

    @cached_property
    def orientation(self) -> Vector | None:
        """(2, 3) directions of a row and of a column, orthonormal to within 0.01."""
        cosines = self.vector("ImageOrientationPatient", 6)
        if cosines is None:
            return None
        axes = cosines.reshape(2, 3)
        if (np.abs(axes @ axes.T - np.eye(2)) > _UNIT).any():
            return None
        return axes

    @cached_property
    def spacing(self) -> Vector | None:
        """(2,) mm between rows, and between columns."""
        spacing = self.vector("PixelSpacing", 2)
        return None if spacing is None or (spacing <= 0).any() else spacing

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns; 0 where the header does not say."""
        sizes = (header_value(self.file.header, key) for key in ("Rows", "Columns"))
        rows, columns = (size if isinstance(size, int) else 0 for size in sizes)
        return rows, columns

    @cached_property
    def image_type(self) -> tuple[str, ...]:
        """``ImageType``, or ``FrameType`` of a frame that has its own."""
        return self.texts("FrameType") or self.texts("ImageType")

    @cached_property
    def component(self) -> str:
        """``magnitude``, ``phase``, ``real``, ``imaginary`` or ``mixed``; empty if unknown."""
        stated = self.text("ComplexImageComponent").upper()
        if stated in _COMPONENTS:
            return _COMPONENTS[stated]
        of_ge = self.number("GEComponent")
        if of_ge in _GE_COMPONENTS:
            return _GE_COMPONENTS[int(of_ge)]
        found = {_COMPONENTS[word] for word in self.image_type[2:] if word in _COMPONENTS}
        found |= {
            _COMPONENTS[word.split("_")[0]]
            for word in self.image_type[2:]
            if "_" in word and word.split("_")[0] in ("P", "R", "I", "PHASE")
        }
        others = found - {"magnitude"}
        return min(others) if others else next(iter(found), "")

    @property
    def echo_time(self) -> float | None:
        """Milliseconds."""
        effective = self.number("EffectiveEchoTime")
        return self.number("EchoTime") if effective is None else effective

    @property
    def inversion_times(self) -> tuple[float, ...]:
        """Milliseconds; empty where there was no inversion."""
        value = self.get("InversionTimes")
        value = self.get("InversionTime") if value is None else value
        values = list(value) if _is_list(value) else [value]
        return tuple(t for v in values if (t := _float(v)) is not None and t > 0)

    @property
    def b_value(self) -> float:
        """s/mm², 0 where nothing says that the frame is diffusion weighted.

        GE's private value is asked of sequences that are not known by their kind (``RM``, as in
        diffusion by PROPELLER); others carry it without meaning.
        """
        stated = self.number("DiffusionBValue")
        if stated is None and "RM" in self.texts("ScanningSequence"):
            stated = (self.number("GEBValue") or 0.0) % _GE_B_VALUES
        return stated if stated is not None else 0.0


def frames_of(file: DicomFile) -> Iterator[Frame]:
    """The planes of a file; one for a classic image.

    Raises:
        InputError: ``dicom-no-geometry`` for several frames without functional groups.
        ValueError: where the functional groups do not fit the number of frames.
    """
    header = file.header
    groups = header.get("PerFrameFunctionalGroupsSequence")
    count = int(header.get("NumberOfFrames") or 1)
    if str(header.SOPClassUID) == CLASSIC or groups is None:
        if count > 1:
            raise InputError(
                Code.DICOM_NO_GEOMETRY,
                f"{file.source.name} holds {count} frames and does not say where each of them "
                "lies; export the original images",
            )
        yield Frame(file, 0, _ge_values(header))
        return
    if count != len(groups) or count > MOST_FRAMES:
        raise ValueError(f"it promises {count} frames and describes {len(groups)}")
    shared = header.get("SharedFunctionalGroupsSequence") or [{}]
    common = dict(_flat(shared[0]))
    for index, group in enumerate(groups):
        yield Frame(file, index, common | dict(_flat(group)))


def header_value(header: Any, keyword: str | int) -> Any:
    """An attribute of a data set; ``None`` where it is absent, empty or cannot be converted.

    Of a tag it is the element.
    """
    try:
        value = header.get(keyword)
    except Exception:  # pydicom converts values when they are first used
        return None
    return None if value is None or (isinstance(value, str) and not value.strip()) else value


def _flat(group: Any) -> Iterator[tuple[str, Any]]:
    """Attributes of the macros of a functional group, by keyword.

    Private sequences are passed over: Philips keeps a whole classic header in one.
    """
    for macro in group:
        if macro.VR == "SQ" and not macro.tag.is_private and macro.value:
            for element in macro.value[0]:
                if element.keyword and element.VR != "SQ":
                    yield element.keyword, element.value


def _ge_values(header: Any) -> dict[str, Any]:
    """What GE says in private attributes alone: phase images bear no other mark."""
    if "GE" not in str(header_value(header, "Manufacturer") or "").upper():
        return {}
    elements = {name: header.get(tag) for name, tag in _GE_ATTRIBUTES.items()}
    return {name: element.value for name, element in elements.items() if element is not None}


def _is_list(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes))


def _float(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
