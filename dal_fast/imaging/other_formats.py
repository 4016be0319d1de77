"""Images of other formats than NIfTI that lie in a folder: known by their names, and counted."""

from __future__ import annotations

import re
from pathlib import Path

_FORMATS = (
    (r"\.mg[hz]", "an MGH", "convert {them} with mri_convert"),
    (
        r"\.(dcm|dicom|ima)",
        "a DICOM",
        "screen {them} with dal-fast dicom, or convert {them} with dcm2niix",
    ),
    (r"\.(nrrd|nhdr)", "an NRRD", "convert {them}, for example with c3d"),
    (r"\.(mha|mhd)", "a MetaImage", "convert {them}, for example with c3d"),
    (r"\.mnc(\.gz)?", "a MINC", "convert {them} with mnc2nii"),
    (r"\.brik(\.gz)?", "an AFNI", "convert {them} with 3dAFNItoNIFTI"),
    (r"\.img(\.gz)?", "an Analyze", "convert {them}, from the DICOM files if you have them"),
    (r"\.nii\.bz2", "a bzip2", "unpack {them} with bunzip2"),
    (r"\.nii\.xz", "an xz", "unpack {them} with unxz"),
    (r"\.nii\.zst", "a zstd", "unpack {them} with unzstd"),
    (r"\.nii\.zip", "a ZIP", "unpack {them}"),
)
_DICOM = "a DICOM"
_EXTENSION = re.compile(r"\.[A-Za-z]\w*$")
_DICOM_MARK = slice(128, 132), b"DICM"


class OtherFormats:
    """Counts files by format.

    DICOM files often have no extension: the first such file of a folder tells what all are.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[Path, int]] = {}
        self._dicom_folders: dict[Path, bool] = {}

    def add(self, path: Path) -> None:
        """Count a file if it is an image of another format."""
        if path.name.startswith("."):
            return
        kind = next((kind for end, kind, _ in _FORMATS if _ends(path, end)), None)
        if kind is None and not _EXTENSION.search(path.name):
            folder = path.parent
            if folder not in self._dicom_folders:
                self._dicom_folders[folder] = _is_dicom(path)
            kind = _DICOM if self._dicom_folders[folder] else None
        if kind is not None:
            first, count = self._found.get(kind, (path, 0))
            self._found[kind] = first, count + 1

    def reasons(self) -> list[tuple[Path, str]]:
        """The first file of each format, and a sentence without its subject about all of them."""
        advice = {kind: way_out for _, kind, way_out in _FORMATS}
        lines = []
        for kind, (path, count) in self._found.items():
            others = {1: "", 2: ", as is another"}.get(count, f", as are {count - 1} others")
            way_out = advice[kind].format(them="it" if count == 1 else "them")
            lines.append((path, f"it is {kind} file{others}; only NIfTI is read: {way_out}"))
        return lines


def way_out(path: Path) -> str:
    """What to do with a file of another format than NIfTI, by its name or its first bytes."""
    if path.name.lower().endswith((".hdr", ".img")):
        return (
            "convert the pair to one .nii.gz file, from the DICOM files if you have them, as "
            "Analyze 7.5 does not say which side is left"
        )
    if path.name.lower().endswith(".zip"):
        return "unpack it; an archive of DICOM files is screened as it is by dal-fast dicom"
    if path.suffix.lower() in (".dcm", ".dicom", ".ima") or _is_dicom(path):
        return (
            "screen the folder that it lies in with dal-fast dicom, or convert that to NIfTI with "
            "dcm2niix"
        )
    advice = next((a for end, _, a in _FORMATS if _ends(path, end)), None)
    return (advice or "give a scan in NIfTI").format(them="it")


def _ends(path: Path, end: str) -> bool:
    return re.search(f"{end}$", path.name, re.IGNORECASE) is not None


def _is_dicom(path: Path) -> bool:
    place, mark = _DICOM_MARK
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            return file.read(place.stop)[place] == mark
    except OSError:
        return False
