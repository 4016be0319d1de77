"""The classes of DICOM objects that are read."""

CLASSIC, ENHANCED, LEGACY = (
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.4.4",
)
MR_CLASSES = {
    CLASSIC: "MR Image Storage",
    ENHANCED: "Enhanced MR Image Storage",
    LEGACY: "Legacy Converted Enhanced MR Image Storage",
}
