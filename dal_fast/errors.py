"""What the package raises, and every code that names a reason.

    DalFastError
    ├── InputError           a file, an argument or an option cannot be used
    ├── OutputError          results cannot be written
    ├── RuntimeUnavailable   a device, an engine or a package that was asked for cannot run here
    └── WorkerError          a worker process died or did not answer

Programs should look at :attr:`DalFastError.code`, which is stable; messages may be reworded.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The reason for an error: stable, machine-readable, in kebab-case.

    Attributes:
        explanation: what the code means, in one sentence.
    """

    explanation: str

    def __new__(cls, value: str, explanation: str = "") -> Code:
        member = str.__new__(cls, value)
        member._value_ = value
        member.explanation = explanation
        return member

    # arguments of ops and commands
    VALUE = "value", "An argument or option is outside its range."
    NOT_A_TENSOR = "not-a-tensor", "An op was given something that is not a dense torch tensor."
    DTYPE = "dtype", "A tensor has an element type that the op does not take."
    SHAPE = "shape", "A tensor has the wrong number of axes, or sizes that do not fit another's."
    MASK_DTYPE = "mask-dtype", "A mask is not a bool tensor."
    MASK_SHAPE = "mask-shape", "A mask does not have the shape of its volume."
    MASK_DEVICE = "mask-device", "A mask lies on another device than its volume."
    LEVELS = "levels", "There is not one grey level for each class."
    DEVICE = "device", "Two tensors that belong together lie on different devices."
    SIZE = "size", "A filter's size is not supported."
    WINDOW = "window", "An SSIM window is not an odd number within the supported range."
    KIND = "kind", "An SSIM window is neither Gaussian nor uniform."
    REDUCTION = "reduction", "A reduction is neither mean nor none."
    CONNECTIVITY = "connectivity", "Connectivity is none of 6, 18 and 26."
    BINS = "bins", "The number of histogram bins is outside its range."
    CASE = "case", "Scores of a case were asked for or added in the wrong order."
    NAN = "nan", "Scores hold NaN."
    NO_GRADIENT = "no-gradient", "An op was asked for a derivative that it does not have."

    # reading files
    FILE_MISSING = "file-missing", "There is no such file, or a link leads nowhere."
    FILE_UNREADABLE = "file-unreadable", "The file cannot be opened or read."
    NOT_A_FILE = "not-a-file", "The path is not a regular file."
    NOT_A_FOLDER = "not-a-folder", "The path is not a folder."
    EMPTY_FILE = "empty-file", "The file holds no bytes."
    NOT_NIFTI = "not-nifti", "The file does not begin with a NIfTI header."
    NOT_GZIP = "not-gzip", "A .nii.gz file is not compressed with gzip."
    GZIP_CORRUPT = "gzip-corrupt", "The compressed data are damaged."
    GZIP_TRUNCATED = "gzip-truncated", "The compressed data end too early."
    UNSUPPORTED_FORMAT = "unsupported-format", "The file is of an image format that is not read."
    NIFTI_TRUNCATED = "nifti-truncated", "The file ends before its last voxel."
    NIFTI_EXTRA_DATA = "nifti-extra-data", "The file goes on after its last voxel."
    DIMENSIONS = (
        "dimensions",
        "The header declares a number of dimensions that NIfTI does not have.",
    )
    NOT_3D = "not-3d", "The image is not a volume of three dimensions."
    SEVERAL_FRAMES = "several-frames", "The image is a series of volumes."
    SIZE_NONPOSITIVE = "size-nonpositive", "The header declares a size of zero or less."
    SIZE_TOO_LARGE = "size-too-large", "The volume has more voxels along an axis than are allowed."
    TOO_SMALL = "too-small", "The volume has too few voxels along an axis."
    DTYPE_COMPLEX = "dtype-complex", "The voxels are complex numbers."
    DTYPE_COLOUR = "dtype-colour", "The voxels are colours."
    DTYPE_UNKNOWN = "dtype-unknown", "The voxels are of an unknown type."
    VOX_OFFSET = "vox-offset", "The header points to an impossible place for the voxels."
    SCALING = "scaling", "The header's slope or intercept is not usable."
    AFFINE_INVALID = "affine-invalid", "The header's orientation cannot be decoded."
    AFFINE_NONFINITE = "affine-nonfinite", "The affine holds NaN or infinity."
    AFFINE_SINGULAR = "affine-singular", "The affine cannot be inverted."
    VOXEL_SIZE = "voxel-size", "The voxels are implausibly small or large."
    ALL_NAN = "all-nan", "No voxel is a finite number."
    ALL_ZERO = "all-zero", "Every voxel is zero."
    CONSTANT = "constant", "Every voxel has the same value."
    NONFINITE = "nonfinite", "Some voxels are NaN or infinite, and they were not to be replaced."
    NO_SIGNAL = "no-signal", "The brain holds no signal to normalise by."

    # DICOM
    DICOM_NONE = "dicom-none", "There is no DICOM image in the folder or archive."
    DICOM_DAMAGED = "dicom-damaged", "A DICOM file is cut, damaged, or contradicts itself."
    DICOM_NOT_MR = "dicom-not-mr", "A series is no MR image series."
    DICOM_MOSAIC = "dicom-mosaic", "A series holds several slices in one frame (mosaic)."
    DICOM_NO_GEOMETRY = "dicom-no-geometry", "A slice does not say where it lies in the patient."
    DICOM_FEW_SLICES = "dicom-few-slices", "A stack of slices is too short to hold a brain."
    DICOM_MISSING_SLICES = "dicom-missing-slices", "Slices of a stack are missing."
    DICOM_UNEVEN = "dicom-uneven", "The slices of a stack do not lie on one regular grid."
    DICOM_REPEATED_POSITIONS = (
        "dicom-repeated-positions",
        "Different slices of a stack lie at the same place.",
    )
    DICOM_CONFLICT = "dicom-conflict", "Two instances with one UID differ."
    DICOM_MIXED = "dicom-mixed", "A series mixes patients, studies or frames of reference."
    DICOM_TOO_LARGE = "dicom-too-large", "A file or series is larger than any brain scan."
    DICOM_TRANSFER_SYNTAX = "dicom-transfer-syntax", "The compression of a series is not read."
    DICOM_PIXEL_LENGTH = "dicom-pixel-length", "The pixels are not as many as the header promises."
    DICOM_PIXELS = "dicom-pixels", "The pixels of a slice cannot be decoded or used."
    DICOM_BURNED_IN = "dicom-burned-in", "Text is burned into the pixels."
    DICOM_UNSELECTED = (
        "dicom-unselected",
        "No series of a study is known to be a T1w, T2w or FLAIR scan of a brain.",
    )
    DICOM_SERIES_UNKNOWN = "dicom-series-unknown", "The study holds no series with that UID."

    # the brain and its mask
    SKULL_PRESENT = (
        "skull-present",
        "The scan shows the whole head, and no brain mask was given.",
    )
    BRAIN_NOT_FOUND = (
        "brain-not-found",
        "No brain was found in the scan, or what was found cannot be one.",
    )
    MASK_GRID = "mask-grid", "The brain mask is not on the scan's grid."
    MASK_EMPTY = "mask-empty", "The brain mask is empty."
    MASK_TOO_LARGE = "mask-too-large", "The brain mask marks more than any brain has."
    MASK_FOR_FOLDER = "mask-for-folder", "One mask was given for a whole folder of scans."
    GRID_MISMATCH = "grid-mismatch", "Two images that belong together are on different grids."

    # datasets and tables
    NO_SCANS = "no-scans", "There is no scan to screen."
    LEFT_OUT = "left-out", "A file or folder that may hold a scan was passed over, for a reason."
    NOT_BIDS = "not-bids", "The folder is not a BIDS dataset."
    LABEL_UNKNOWN = "label-unknown", "No participant has the label that was asked for."
    PARTICIPANTS_TABLE = "participants-table", "participants.tsv cannot be used."
    HEALTHY_RULE = "healthy-rule", "The rule for healthy participants names nobody."
    NO_RESULTS = "no-results", "There are no results to summarise."
    MIXED_SETTINGS = (
        "mixed-settings",
        "Results of one contrast were made with different settings, so their scores have no order.",
    )
    NOT_SCREENED = "not-screened", "The participant level has not been run for this scan."
    NO_DATA = "no-data", "There are no brains or label maps to work on."

    # evaluation
    CASES_TABLE = "cases-table", "The table of cases cannot be used."
    CASE_TWICE = "case-twice", "A case is listed twice."
    NO_CASES = "no-cases", "There is no case to evaluate."
    RULE = "rule", "A rule is not KEY=VALUE, or no case has the key."
    LESION_MISSING = "lesion-missing", "A scan has no lesion mask and is not known to be healthy."
    LESION_EMPTY = (
        "lesion-empty",
        "A lesion mask is empty, and the scan is not known to be healthy.",
    )
    LESION_GRID = "lesion-grid", "A lesion mask is not on its scan's grid."
    VALIDATION_MISSING = "validation-missing", "A protocol needs validation cases."
    PROTOCOL_UNKNOWN = "protocol-unknown", "There is no such evaluation protocol."
    DETECTOR_NAME = "detector-name", "A detector was not given as NAME=FOLDER or detector:NAME."
    DETECTOR_TWICE = "detector-twice", "Two detectors have the same name."
    DETECTOR_UNKNOWN = "detector-unknown", "No installed package offers such a detector."
    DETECTOR_BROKEN = "detector-broken", "A detector failed or returned something unusable."
    MAP_MISSING = "map-missing", "A detector has no anomaly map of a scan."
    MAP_AMBIGUOUS = "map-ambiguous", "A detector has several maps of one scan."
    MAP_UNREADABLE = "map-unreadable", "An anomaly map cannot be read."
    MAP_GRID = "map-grid", "An anomaly map does not fit its scan."
    MAP_NONFINITE = "map-nonfinite", "An anomaly map holds NaN or infinity."
    LMDB_MISSING = "lmdb-missing", "The LMDB database does not exist or holds nothing."
    LMDB_SLICE = "lmdb-slice", "An entry of the LMDB database is not a slice."

    # models and training
    WEIGHTS_MISSING = "weights-missing", "There is no such weight file."
    WEIGHTS_CORRUPT = "weights-corrupt", "The weight file is damaged."
    WEIGHTS_MISMATCH = "weights-mismatch", "The weight file does not fit its configuration."
    WEIGHTS_KIND = "weights-kind", "The weight file holds another kind of model."
    WEIGHTS_PART = "weights-part", "The model has no such part."
    MODEL_UNKNOWN = "model-unknown", "There is no such kind of model."
    CONFIG = "config", "The training recipe is not valid."
    TRAIN_CORRUPT = "train-corrupt", "The training checkpoint is damaged."
    TRAIN_MISMATCH = "train-mismatch", "The training checkpoint belongs to another recipe."

    # writing
    OUTPUT_UNWRITABLE = "output-unwritable", "The results cannot be written there."
    DISK_FULL = "disk-full", "The disk or the quota is full."
    OUTPUT_EXISTS = "output-exists", "The output exists already and is not overwritten."
    OUTPUT_NAME = "output-name", "An output's name does not end as its format demands."

    # what can run here
    BACKEND_UNAVAILABLE = "backend-unavailable", "The backend cannot run these tensors here."
    INSTRUCTION_SET = "instruction-set", "The processor cannot run the instruction set asked for."
    DEVICE_UNAVAILABLE = "device-unavailable", "The device is not there or is not supported."
    RUNTIME_UNAVAILABLE = "runtime-unavailable", "The engine is not installed or cannot run here."
    ENGINE_BUILD = "engine-build", "The engine could not be built."
    ENGINE_PARITY = "engine-parity", "The engine's results differ from eager torch."
    EXTRA_MISSING = "extra-missing", "An optional package is not installed."
    RAY_UNAVAILABLE = "ray-unavailable", "Ray Data is not installed or its cluster is out of reach."

    # how scans of a batch fail
    WORKER_DIED = "worker-died", "A worker process ended unexpectedly."
    TIMED_OUT = "timed-out", "A scan did not move on in time."
    OUT_OF_MEMORY = "out-of-memory", "There is not enough memory for the scan."
    UNEXPECTED = "unexpected", "A fault of the program; please report it."


class DalFastError(ValueError):
    """The base of what the package raises.

    Args:
        code: why; a member of :class:`Code` or its value.
        message: one sentence that names the argument or file, the offending values, and what to do.
    """

    def __init__(self, code: Code | str, message: str) -> None:
        super().__init__(message)
        self.code = Code(code)
        self.message = message

    def __reduce__(self) -> tuple[type[DalFastError], tuple[str, str]]:
        return (type(self), (str(self.code), self.message))


class InputError(DalFastError):
    """A file, an argument or an option cannot be used."""


class OutputError(DalFastError):
    """Results cannot be written."""


class RuntimeUnavailable(DalFastError):
    """A device, an engine or a package that was asked for cannot run here."""


class WorkerError(DalFastError):
    """A worker process died or did not answer."""


_CLASSES: dict[Code, type[DalFastError]] = {
    Code.OUTPUT_UNWRITABLE: OutputError,
    Code.DISK_FULL: OutputError,
    Code.OUTPUT_EXISTS: OutputError,
    Code.OUTPUT_NAME: OutputError,
    Code.BACKEND_UNAVAILABLE: RuntimeUnavailable,
    Code.INSTRUCTION_SET: RuntimeUnavailable,
    Code.DEVICE_UNAVAILABLE: RuntimeUnavailable,
    Code.RUNTIME_UNAVAILABLE: RuntimeUnavailable,
    Code.ENGINE_BUILD: RuntimeUnavailable,
    Code.ENGINE_PARITY: RuntimeUnavailable,
    Code.EXTRA_MISSING: RuntimeUnavailable,
    Code.RAY_UNAVAILABLE: RuntimeUnavailable,
    Code.WORKER_DIED: WorkerError,
    Code.TIMED_OUT: WorkerError,
}


def error_of(code: Code | str, message: str) -> DalFastError:
    """The error that a code stands for: what another process reported, raised here again."""
    return _CLASSES.get(Code(code), InputError)(code, message)
