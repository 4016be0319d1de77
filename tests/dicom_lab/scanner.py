"""A fake scanner: writes a series of DICOM files from a volume, with pydicom alone.

highdicom, dcm2niix, SimpleITK and GDCM stay independent readers of what it writes. Vendors and
protocols are tables; whatever a real scanner or archive does oddly is a row of ``quirks.py``.
"""

from __future__ import annotations

import copy
import datetime
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CLASSIC = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"
PATIENT = {
    "PatientName": "Vorname^Nachname",
    "PatientID": "PID4711",
    "PatientBirthDate": "19610203",
    "PatientSex": "F",
    "AccessionNumber": "ACC0815",
}
"""What must never be shown."""


@dataclass(frozen=True)
class Vendor:
    """How a maker's files differ.

    ``image_type``: without the component; ``private``: a block of its own; ``slopes``: rescale
    slope and intercept by slice, the stored values are made to fit; ``counts``: whether the number
    of images is stated.
    """

    manufacturer: str
    model: str
    image_type: tuple[str, ...]
    private: tuple[int, str]
    counts: bool = False
    slopes: bool = False
    first_number: int = 1
    extra: dict = field(default_factory=dict)


VENDORS = {
    "siemens": Vendor("SIEMENS", "Prisma", ("ORIGINAL", "PRIMARY", "M", "ND", "NORM"),
                      (0x0029, "SIEMENS CSA HEADER")),
    "ge": Vendor("GE MEDICAL SYSTEMS", "SIGNA Premier", ("ORIGINAL", "PRIMARY", "OTHER"),
                 (0x0043, "GEMS_PARM_01"), counts=True),
    "philips": Vendor("Philips", "Ingenia", ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"),
                      (0x2005, "Philips MR Imaging DD 001"), slopes=True),
    "canon": Vendor("CANON_MEC", "Galan 3T", ("ORIGINAL", "PRIMARY", "OTHER"),
                    (0x7005, "CANON_MEC_MR3")),
}  # fmt: skip
OTHER_VENDORS = {
    "toshiba": Vendor("TOSHIBA_MEC", "Vantage Titan", ("ORIGINAL", "PRIMARY", "OTHER"),
                      (0x700D, "TOSHIBA_MEC_MR3"), counts=True),
    "hitachi": Vendor("Hitachi Medical Corporation", "AIRIS Vento",
                      ("ORIGINAL", "PRIMARY", "OTHER"), (0x0019, "HMC")),
    "united imaging": Vendor("UIH", "uMR 790", ("ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"),
                             (0x0065, "Image Private Header")),
    "siemens xa": Vendor("Siemens Healthineers", "MAGNETOM Vida",
                         ("ORIGINAL", "PRIMARY", "M", "NORM", "DIS3D"),
                         (0x0021, "SIEMENS MR SDS 01")),
}  # fmt: skip
ALL_VENDORS = VENDORS | OTHER_VENDORS

MPRAGE = {
    "ScanningSequence": ["GR", "IR"], "SequenceVariant": ["SK", "SP", "MP"], "ScanOptions": "IR",
    "MRAcquisitionType": "3D", "SequenceName": "*tfl3d1_16ns", "RepetitionTime": 2300,
    "EchoTime": 2.98, "InversionTime": 900, "FlipAngle": 9, "EchoTrainLength": 1,
    "SeriesDescription": "t1_mprage_sag", "ProtocolName": "t1_mprage_sag",
}  # fmt: skip


def base(vendor: Vendor, protocol: dict, uids: dict) -> Dataset:
    """Everything that all images of a series share."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    for key, value in PATIENT.items():
        setattr(ds, key, value)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240131"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.ReferringPhysicianName = "Arzt^Anna"
    ds.StudyID, ds.StudyDescription = "1", "MRT Kopf"
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "MR", vendor.manufacturer, vendor.model
    ds.StationName, ds.DeviceSerialNumber, ds.SoftwareVersions = "MR1", "12345", "1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uids["study"], uids["series"]
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = uids["frame"], ""
    ds.SeriesNumber = protocol.get("SeriesNumber", 5)
    ds.AcquisitionNumber = 1
    ds.BodyPartExamined, ds.PatientPosition = "BRAIN", "HFS"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    group, creator = vendor.private
    block = ds.private_block(group, creator, create=True)
    block.add_new(0x01, "LO", "private")
    for key, value in {**protocol, **vendor.extra}.items():
        setattr(ds, key, value)
    return ds


def meta(kind: str, sop: str, syntax: str = ExplicitVRLittleEndian) -> FileMetaDataset:
    header = FileMetaDataset()
    header.MediaStorageSOPClassUID, header.MediaStorageSOPInstanceUID = kind, sop
    header.TransferSyntaxUID, header.ImplementationClassUID = syntax, "1.2.3.4"
    return header


def decimal(values) -> list[str]:
    """DS of at most 16 characters."""
    out = []
    for value in np.atleast_1d(values):
        text = next(t for n in range(17, 5, -1) if len(t := f"{value:.{n}g}") <= 16)
        out.append(text)
    return out


def stored_slices(data, vendor: Vendor):
    """(stored uint16 (rows, columns), slope, intercept) by slice; exact in float32."""
    for k in range(data.shape[2]):
        plane = np.asarray(data[:, :, k]).T
        if vendor.slopes:  # another power of two a slice, so that the values come back exactly
            slope, intercept = (0.5, 0.25)[k % 2], (-4.0, 0.0, 8.0)[k % 3]
            yield np.round((plane - intercept) / slope).astype(np.int64), slope, intercept
        else:
            yield np.round(plane).astype(np.int64), None, None


def classic(data, affine, vendor="siemens", protocol=MPRAGE, seed="1") -> list[Dataset]:
    """A series of single images: ``data`` (I, J, K) of whole numbers, ``affine`` to RAS mm."""
    vendor = ALL_VENDORS[vendor]
    uids = {n: generate_uid(entropy_srcs=[seed, n]) for n in ("study", "series", "frame")}
    lps = np.diag([-1, -1, 1, 1]) @ affine
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    axes = lps[:3, :3] / sizes
    normal = np.cross(axes[:, 0], axes[:, 1])
    images, shared = [], pickle.dumps(base(vendor, protocol, uids))
    for k, (stored, slope, intercept) in enumerate(stored_slices(data, vendor)):
        ds = pickle.loads(shared)  # three times as fast as copy.deepcopy
        ds.SOPClassUID, ds.SOPInstanceUID = CLASSIC, generate_uid(entropy_srcs=[seed, f"i{k}"])
        ds.file_meta = meta(CLASSIC, ds.SOPInstanceUID)
        ds.InstanceNumber = vendor.first_number + k
        ds.ImageType = list(vendor.image_type)
        position = lps[:3, 3] + k * lps[:3, 2]
        ds.ImagePositionPatient = decimal(position)
        ds.ImageOrientationPatient = decimal([*axes[:, 0], *axes[:, 1]])
        ds.PixelSpacing = decimal([sizes[1], sizes[0]])
        ds.SliceThickness = decimal(sizes[2])[0]
        ds.SpacingBetweenSlices = decimal(abs(float(lps[:3, 2] @ normal)))[0]
        ds.SliceLocation = decimal(position @ normal)[0]
        if vendor.counts:
            ds.ImagesInAcquisition = data.shape[2]
        if slope is not None:
            ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = slope, intercept, "US"
        put_pixels(ds, stored)
        images.append(ds)
    return images


def put_pixels(ds: Dataset, stored) -> None:
    """Unsigned 16 bits, unless there are negative values."""
    stored = np.asarray(stored)
    signed = stored.min() < 0
    ds.PixelRepresentation = int(signed)
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
    ds["PixelData"].VR = "OW"


def enhanced(data, affine, vendor="siemens", protocol=MPRAGE, seed="1", order=None) -> Dataset:
    """The same as one Enhanced MR object; ``order`` of its frames."""
    made_by = ALL_VENDORS[vendor]
    planes = classic(data, affine, vendor, protocol, seed)
    order = list(range(len(planes))) if order is None else order
    first = planes[0]
    ds = copy.deepcopy(first)
    for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
                "SpacingBetweenSlices", "SliceLocation", "RescaleSlope", "RescaleIntercept",
                "RescaleType", "EchoTime", "RepetitionTime", "InversionTime", "FlipAngle",
                "EchoTrainLength", "ScanningSequence", "SequenceVariant", "ScanOptions",
                "SequenceName", "ImagesInAcquisition", "BodyPartExamined"):  # fmt: skip
        if key in ds:
            delattr(ds, key)
    ds.SOPClassUID = ENHANCED
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[seed, "enhanced"])
    ds.file_meta = meta(ENHANCED, ds.SOPInstanceUID)
    ds.InstanceNumber, ds.NumberOfFrames = 1, len(planes)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    _module(ds, protocol)
    shared = Dataset()
    shared.MRTimingAndRelatedParametersSequence = _item(_timing(protocol))
    shared.PlaneOrientationSequence = _item(
        {"ImageOrientationPatient": first.ImageOrientationPatient}
    )
    shared.PixelMeasuresSequence = _item(
        {"PixelSpacing": first.PixelSpacing, "SliceThickness": first.SliceThickness}
    )
    shared.MREchoSequence = _item({"EffectiveEchoTime": float(protocol["EchoTime"])})
    shared.MRModifierSequence = _item(_modifier(protocol))
    shared.MRAveragesSequence = _item({"NumberOfAverages": 1})
    shared.FrameAnatomySequence = _anatomy()
    for keyword, values in _hardware(first).items():
        setattr(shared, keyword, _item(values))
    shared.MRImageFrameTypeSequence = _item({"FrameType": ds.ImageType, **_pixel_kind()})
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for number in order:
        plane, group = planes[number], Dataset()
        group.FrameContentSequence = _item(
            {"StackID": "1", "InStackPositionNumber": number + 1,
             "DimensionIndexValues": [1, number + 1], "FrameAcquisitionDuration": 1.0,
             "FrameAcquisitionDateTime": "20240131101500",
             "FrameReferenceDateTime": "20240131101500"}
        )  # fmt: skip
        group.PlanePositionSequence = _item({"ImagePositionPatient": plane.ImagePositionPatient})
        slope = plane.get("RescaleSlope", 1) if made_by.slopes else 1
        group.PixelValueTransformationSequence = _item(
            {"RescaleSlope": slope, "RescaleIntercept": plane.get("RescaleIntercept", 0),
             "RescaleType": "US"}
        )  # fmt: skip
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    signed = [p.PixelRepresentation for p in planes]
    frames = [
        np.frombuffer(p.PixelData, "<i2" if s else "<u2")
        for p, s in zip(planes, signed, strict=True)
    ]
    put_pixels(
        ds, np.stack([frames[n].reshape(first.Rows, first.Columns).astype(int) for n in order])
    )
    ds.Rows, ds.Columns = first.Rows, first.Columns
    return ds


def _item(values: dict) -> Sequence:
    item = Dataset()
    for key, value in values.items():
        setattr(item, key, value)
    return Sequence([item])


def _code(value, scheme, meaning) -> Sequence:
    return _item({"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning})


def _pixel_kind() -> dict:
    return {"PixelPresentation": "MONOCHROME", "VolumetricProperties": "VOLUME",
            "VolumeBasedCalculationTechnique": "NONE", "ComplexImageComponent": "MAGNITUDE",
            "AcquisitionContrast": "T1"}  # fmt: skip


def _timing(protocol) -> dict:
    return {"RepetitionTime": protocol["RepetitionTime"], "FlipAngle": protocol["FlipAngle"],
            "EchoTrainLength": 1, "RFEchoTrainLength": 0, "GradientEchoTrainLength": 1,
            "SpecificAbsorptionRateSequence": Sequence(
                [*_item({"SpecificAbsorptionRateDefinition": "IEC_HEAD",
                         "SpecificAbsorptionRateValue": 0.1})]),
            "OperatingModeSequence": Sequence(
                [*_item({"OperatingModeType": "GRADIENT", "OperatingMode": "IEC_NORMAL"})]),
            "GradientOutputType": "DB_DT", "GradientOutput": 0.0}  # fmt: skip


def _modifier(protocol) -> dict:
    times = protocol.get("InversionTime")
    values = {"InversionRecovery": "YES" if times else "NO", "FlowCompensation": "NONE",
              "Spoiling": "RF", "T2Preparation": "NO", "SpectrallySelectedExcitation": "NONE",
              "SpatialPresaturation": "NONE", "PartialFourier": "NO",
              "ParallelAcquisition": "NO"}  # fmt: skip
    if times:
        values["InversionTimes"] = [float(times)]
    return values


def _hardware(plane) -> dict:
    """Macros without which the object would not be whole."""
    return {
        "MRFOVGeometrySequence": {
            "InPlanePhaseEncodingDirection": "ROW",
            "MRAcquisitionFrequencyEncodingSteps": plane.Rows,
            "MRAcquisitionPhaseEncodingStepsInPlane": plane.Columns,
            "MRAcquisitionPhaseEncodingStepsOutOfPlane": 1,
            "PercentSampling": 100.0, "PercentPhaseFieldOfView": 100.0,
        },
        "MRImagingModifierSequence": {
            "MagnetizationTransfer": "NONE", "BloodSignalNulling": "NO", "Tagging": "NONE",
            "TransmitterFrequency": 123.2, "PixelBandwidth": 240.0,
        },
        "MRReceiveCoilSequence": {
            "ReceiveCoilName": "HEAD", "ReceiveCoilManufacturerName": "X",
            "ReceiveCoilType": "VOLUME", "QuadratureReceiveCoil": "NO",
        },
        "MRTransmitCoilSequence": {
            "TransmitCoilName": "BODY", "TransmitCoilManufacturerName": "X",
            "TransmitCoilType": "BODY",
        },
    }  # fmt: skip


def _anatomy() -> Sequence:
    return _item(
        {"FrameLaterality": "U", "AnatomicRegionSequence": _code("12738006", "SCT", "Brain")}
    )


def _module(ds: Dataset, protocol: dict) -> None:
    """What the Enhanced MR IOD wants beside the functional groups."""
    for key, value in _pixel_kind().items():
        setattr(ds, key, value)
    ds.AcquisitionDateTime, ds.AcquisitionDuration = "20240131101500", 300.0
    ds.ContentQualification, ds.ResonantNucleus, ds.KSpaceFiltering = "PRODUCT", "1H", "NONE"
    ds.MagneticFieldStrength, ds.ApplicableSafetyStandardAgency = 3.0, "IEC"
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    ds.PresentationLUTShape = "IDENTITY"
    ds.EchoPulseSequence = "GRADIENT" if "GR" in protocol["ScanningSequence"] else "SPIN"
    ds.PulseSequenceName = "tfl"
    ds.MultiPlanarExcitation, ds.PhaseContrast, ds.TimeOfFlightContrast = "NO", "NO", "NO"
    ds.SteadyStatePulseSequence, ds.EchoPlanarPulseSequence = "NONE", "NO"
    ds.SaturationRecovery, ds.SpectrallySelectedSuppression = "NO", "NONE"
    ds.OversamplingPhase, ds.GeometryOfKSpaceTraversal = "NONE", "RECTILINEAR"
    ds.RectilinearPhaseEncodeReordering, ds.SegmentedKSpaceTraversal = "LINEAR", "SINGLE"
    ds.CoverageOfKSpace, ds.NumberOfKSpaceTrajectories = "FULL", 1
    ds.AcquisitionContextSequence = Sequence([])
    organisation = generate_uid(entropy_srcs=[ds.SOPInstanceUID, "dimension"])
    ds.DimensionOrganizationSequence = _item({"DimensionOrganizationUID": organisation})
    pointers = [(0x00209056, 0x00209111), (0x00209057, 0x00209111)]
    ds.DimensionIndexSequence = Sequence(
        [*(_item({"DimensionOrganizationUID": organisation, "DimensionIndexPointer": pointer,
                  "FunctionalGroupPointer": group})[0] for pointer, group in pointers)]
    )  # fmt: skip
    ds.InstanceCreationDate = datetime.date(2024, 1, 31).strftime("%Y%m%d")


def write(images, folder: Path, name="IM{:04d}.dcm", **options) -> Path:
    """Save a series."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, ds in enumerate(images if isinstance(images, list) else [images]):
        ds.save_as(folder / name.format(number), enforce_file_format=True, **options)
    return folder


def small_head(shape=(40, 44, 24), seed=0):
    """Whole numbers (I, J, K) in which every slice differs and no axis is symmetric."""
    generator = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    ball = (i**2 / 0.6 + (j - 0.1) ** 2 / 0.8 + k**2 / 0.9) < 1
    data = ball * (400 + 90 * i + 60 * j - 120 * k) + generator.integers(0, 40, shape)
    return np.round(data).astype(np.int64)


def turned(degrees=(12.0, -7.0, 20.0), voxel=(4.5, 4.5, 5.0), shape=(40, 44, 24), shear=0.0):
    """An affine to RAS mm of a doubly oblique stack around the origin."""
    affine = np.eye(4)
    for axis, angle in enumerate(np.radians(degrees)):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.eye(4)
        a, b = [x for x in range(3) if x != axis]
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
        affine = affine @ turn
    lean = np.eye(4)
    lean[1, 2] = np.tan(np.radians(shear))
    affine = affine @ lean @ np.diag([-voxel[0], -voxel[1], voxel[2], 1])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def stripped_brain(shape=(64, 80, 36), voxel=(2.6, 2.4, 4.0), seed=0):
    """Whole numbers (I, J, K): a brain of 1.4 L in three tissues, 0 outside, with a dark lesion."""
    generator = np.random.default_rng(seed)
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, voxel, strict=True)]
    i, j, k = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((i / 66) ** 2 + (j / 82) ** 2 + (k / 62) ** 2)
    data = np.where(radius < 0.75, 420, np.where(radius < 0.93, 300, 130)).astype(float)
    data[(i - 25) ** 2 + (j - 10) ** 2 + k**2 < 144] = 150
    data += generator.normal(0, 8, shape)
    return np.round(np.where(radius < 1, np.maximum(data, 20), 0)).astype(np.int64), voxel
