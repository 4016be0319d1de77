"""The DICOM files of a study: a folder of any shape, a zip archive, or one file.

Only headers are read here, and of them only :data:`HEADER`. What is not DICOM is counted and named.
"""

from __future__ import annotations

import functools
import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pydicom
from pydicom.uid import UID

from dal_fast.dicom import quiet
from dal_fast.dicom.classes import MR_CLASSES
from dal_fast.errors import Code, InputError
from dal_fast.imaging.paths import missing

LARGEST_FILE = 2 << 30
"""Bytes of one file, inflated."""
PATIENT_WORDS = (
    "PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthDate",
    "PatientBirthName", "PatientMotherBirthName", "PatientAddress", "PatientTelephoneNumbers",
    "AccessionNumber", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName",
)  # fmt: skip
"""Attributes whose values no message shows."""
HEADER = (
    *PATIENT_WORDS,
    # patient and study, copied into results
    "SpecificCharacterSet", "PatientSex", "PatientAge", "PatientSize", "PatientWeight",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription",
    "TypeOfPatientID", "IssuerOfPatientID", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    # identity of series and instance
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber",
    "AcquisitionNumber", "TemporalPositionIdentifier", "ImagesInAcquisition", "Modality",
    "SeriesDescription", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime",
    "AcquisitionDateTime", "TriggerTime",
    "ContentDate", "ContentTime", "FrameOfReferenceUID", "PositionReferenceIndicator",
    "ConcatenationUID", "InConcatenationTotalNumber", "InConcatenationNumber",
    "ConcatenationFrameOffsetNumber", "Manufacturer", "ManufacturerModelName", "StationName",
    # how it was acquired
    "ImageType", "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType",
    "SequenceName", "PulseSequenceName", "ProtocolName", "AngioFlag", "EchoTime", "EchoNumbers",
    "RepetitionTime", "InversionTime", "FlipAngle", "EchoTrainLength", "DiffusionBValue",
    "ContrastBolusAgent", "ContrastBolusAgentSequence", "BodyPartExamined",
    "RequestedProcedureDescription", "EchoPulseSequence", "EchoPlanarPulseSequence",
    "InversionRecovery", "AcquisitionContrast", "ComplexImageComponent", "VolumetricProperties",
    "BurnedInAnnotation", "LossyImageCompression", "FlowCompensation",
    # GE's private attributes with the names of their blocks, without which pydicom does not
    # convert them from Implicit VR: component, b-value, names of the pulse sequence
    0x00430010, 0x0043102F, 0x00431039, 0x00190010, 0x0019109C, 0x0019109E,
    # geometry
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "SliceLocation", "PatientPosition",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionIndexSequence",
    # pixels
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", 0x60000102, "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
)  # fmt: skip
"""What is read of a header."""

_MARK = slice(128, 132), b"DICM"
_BARE_STARTS = (b"\x08\x00", b"\x02\x00", b"\x00\x08")  # groups 0008 and 0002 without a preamble
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_ZIP = b"PK\x03\x04"
_DIRECTORY = "1.2.840.10008.1.3.10"
_SKIPPED = frozenset(("thumbs.db", ".ds_store", "dicomdir"))


@dataclass(frozen=True)
class Source:
    """Where the bytes of a file are.

    Attributes:
        path: of the file, or of the archive that holds it.
        member: its name in the archive; empty for a plain file.
    """

    path: Path
    member: str = ""

    def open(self) -> IO[bytes]:
        """A stream of its bytes, from the beginning."""
        if not self.member:
            return self.path.open("rb")
        return _archive(self.path).open(self.member)

    def read(self) -> bytes:
        """All of its bytes.

        Raises:
            InputError: ``dicom-too-large``.
        """
        with self.open() as stream:
            content = stream.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise InputError(Code.DICOM_TOO_LARGE, f"{self.name} has more than 2 GiB")
        return content

    @property
    def name(self) -> str:
        """For messages: never the folders, whose names may be those of patients."""
        return os.path.basename(self.member or self.path)


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A DICOM file's header and where the rest of it is."""

    header: Any
    source: Source


@dataclass(eq=False)
class StudyFiles:
    """What a folder or archive holds.

    Attributes:
        images: files with an image, in the order of their names.
        others: how many other DICOM objects there are, by the name of their class.
        damaged: files that claim to be DICOM and cannot be read, with the reason.
        foreign: how many files are not DICOM.
    """

    images: list[DicomFile] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    damaged: list[tuple[Source, str]] = field(default_factory=list)
    foreign: int = 0


def find_files(study: str | Path) -> StudyFiles:
    """Read the header of every DICOM file.

    Args:
        study: a folder, which is searched with all its folders, a ``.zip`` archive, or one file;
            a DICOMDIR stands for the folder that it lies in.

    Raises:
        InputError: ``file-missing``, ``file-unreadable``, ``dicom-none``.
    """
    study = Path(study)
    if not study.exists():
        raise missing(study, offer_names=False)
    if study.name.lower() == "dicomdir" and study.is_file():
        study = study.parent
    found = StudyFiles()
    with quiet():
        for source in _sources(study, found):
            _add(source, found)
    if not found.images and not found.damaged:
        held = [f"{count} of {name}" for name, count in sorted(found.others.items())]
        held += [f"{found.foreign} not DICOM"] if found.foreign else []
        raise InputError(
            Code.DICOM_NONE,
            f"{study} holds no DICOM image ({', '.join(held) or 'no file at all'}); give the "
            "folder or the .zip archive that the scanner or PACS exported",
        )
    return found


def read_dataset(source: Source, tags: Any = None, pixels: bool = True) -> Any:
    """A file's data set.

    Args:
        source: of its bytes.
        tags: the only ones that are wanted; ``None`` for all.
        pixels: whether to go on to the pixels.

    Raises:
        InputError: ``dicom-damaged``, ``dicom-too-large``.
    """
    try:
        with source.open() as stream:
            start = stream.read(1024)
        if _DEFLATED in start:
            _check_inflated(source)
        marked = start[_MARK[0]] == _MARK[1]
        content: Any = io.BytesIO(source.read()) if pixels or source.member else source.path
        return pydicom.dcmread(
            content, stop_before_pixels=not pixels, specific_tags=tags, force=not marked
        )
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged file does to a parser
        raise InputError(
            Code.DICOM_DAMAGED,
            f"{source.name} cannot be read as DICOM ({type(error).__name__}); export it again",
        ) from None


def _add(source: Source, found: StudyFiles) -> None:
    """Sort one file into what was found."""
    try:
        with source.open() as stream:
            start = stream.read(132)
        if start[_MARK[0]] != _MARK[1] and start[:2] not in _BARE_STARTS:
            found.foreign += 1
            return
        header = read_dataset(source, list(HEADER), pixels=False)
        kind = str(header.get("SOPClassUID", ""))
        identity = all(header.get(key) for key in ("SOPInstanceUID", "SeriesInstanceUID"))
        if kind == _DIRECTORY or header.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
            return
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        found.damaged.append((source, f"it cannot be read: {_why(error)}"))
    except InputError as error:
        found.damaged.append((source, error.message))
    except Exception as error:  # values that cannot be converted
        found.damaged.append((source, f"its header is damaged ({type(error).__name__})"))
    else:
        if not identity or not kind:
            if start[_MARK[0]] == _MARK[1]:
                found.damaged.append((source, "its header names no class, series or instance"))
            else:
                found.foreign += 1
        elif "Rows" in header or kind in MR_CLASSES:  # one that is cut is told where it is read
            found.images.append(DicomFile(header, source))
        else:
            name = UID(kind).name
            found.others[name] = found.others.get(name, 0) + 1


def _why(error: Exception) -> str:
    """What an error says, without the path."""
    return str((isinstance(error, OSError) and error.strerror) or error)


def _sources(path: Path, found: StudyFiles) -> Iterator[Source]:
    """Every file of a folder or archive, in the order of names; links are followed once."""
    if path.is_dir():
        seen = {os.path.realpath(path)}
        for folder, folders, names in os.walk(path, followlinks=True, onerror=_unreadable(found)):
            folders[:] = sorted(
                name for name in folders if _is_new(os.path.join(folder, name), seen)
            )
            for name in sorted(names):
                file = Path(folder, name)
                if name.lower() not in _SKIPPED and file.is_file():
                    yield from _sources(file, found)
                elif file.is_symlink() and not file.exists() and not name.startswith("."):
                    why = "it is a link whose target is missing; fetch it first (datalad get?)"
                    found.damaged.append((Source(file), why))
    elif _begins_with(path, _ZIP):
        try:
            members = _archive(path).infolist()
        except (OSError, zipfile.BadZipFile) as error:
            found.damaged.append((Source(path), f"the archive cannot be read: {_why(error)}"))
            return
        for member in sorted(members, key=lambda member: member.filename):
            name = os.path.basename(member.filename).lower()
            if member.flag_bits & 1:
                found.damaged.append((Source(path, member.filename), "it is encrypted"))
            elif member.file_size > LARGEST_FILE:
                found.damaged.append((Source(path, member.filename), "it has more than 2 GiB"))
            elif not member.is_dir() and name not in _SKIPPED:
                yield Source(path, member.filename)
    else:
        yield Source(path)


def _unreadable(found: StudyFiles) -> Any:
    def note(error: OSError) -> None:
        place = Source(Path(str(error.filename)))
        found.damaged.append((place, f"the folder cannot be read: {error.strerror}"))

    return note


def _is_new(folder: str, seen: set[str]) -> bool:
    """Whether a folder was not searched yet, by whatever path it is reached."""
    real = os.path.realpath(folder)
    if real in seen:
        return False
    seen.add(real)
    return True


def _begins_with(path: Path, mark: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(mark)) == mark
    except OSError:
        return False


def _archive(path: Path) -> zipfile.ZipFile:
    status = path.stat()
    return _opened_archive(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)
def _opened_archive(path: Path, *_: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _check_inflated(source: Source) -> None:
    """Refuse a deflated file that grows beyond :data:`LARGEST_FILE` before anybody inflates it."""
    content = source.read()
    meta = content[132:144]
    start = 144 + int.from_bytes(meta[8:12], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size, rest = 0, content[start:]
    while rest and not inflater.eof:
        size += len(inflater.decompress(rest, 16 << 20))
        rest = inflater.unconsumed_tail
        if size > LARGEST_FILE:
            raise InputError(
                Code.DICOM_TOO_LARGE, f"{source.name} inflates to more than 2 GiB; export it again"
            )
