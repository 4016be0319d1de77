"""Bad scans, built on the fly: name -> (builder(folder) -> path, the code of its refusal)."""

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (18, 20, 16)
# byte offsets in a NIfTI-1 header
SIZEOF_HDR, DIM, DATATYPE, BITPIX, PIXDIM, VOX_OFFSET, SLOPE = 0, 40, 70, 72, 76, 108, 112
DESCRIP, QFORM_CODE, SFORM_CODE, QUATERN, SROW = 148, 252, 254, 256, 280
AFFINE = np.array([[0, 0, 1.5, -80], [-2, 0, 0, 90], [0, 3, 0, -60], [0, 0, 0, 1.0]])


def ball(shape=SHAPE):
    """A "stripped brain": a noisy ball on a background of zeros."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1.3, 1.3, s) for s in shape), indexing="ij"))
    noise = np.random.default_rng(0).integers(80, 120, shape)
    return np.where((grid**2).sum(0) < 1, noise, 0).astype(np.int16)


def nifti_bytes(data=None, affine=None, kind=nib.Nifti1Image):
    affine = np.diag([2.0, 2, 2, 1]) if affine is None else affine
    return kind(ball() if data is None else data, affine).to_bytes()


def coded(sform=0, qform=0, data=None):
    """A scan with the affine in the sform, the qform, both or neither."""
    data = ball() if data is None else data
    image = nib.Nifti1Image(data, None, dtype=data.dtype)
    image.set_sform(AFFINE, sform)
    image.set_qform(AFFINE, qform)
    return bytearray(image.to_bytes())


def put(raw, offset, form, *values):
    struct.pack_into("<" + form, raw, offset, *values)
    return raw


def write(folder: Path, raw: bytes, name="scan.nii.gz") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(raw, 6, mtime=0) if name.endswith(".gz") else raw)
    return path


def patched(offset: int, form: str, *values):
    """A good scan with one header field replaced."""

    def build(folder: Path) -> Path:
        raw = bytearray(nifti_bytes())
        struct.pack_into("<" + form, raw, offset, *values)
        return write(folder, bytes(raw))

    return build


def image(data, **how):
    return lambda folder: write(folder, nifti_bytes(data() if callable(data) else data, **how))


def compressed(change):
    """A good scan whose gzip stream was tampered with."""

    def build(folder: Path) -> Path:
        path = write(folder, nifti_bytes())
        path.write_bytes(change(bytearray(path.read_bytes())))
        return path

    return build


def raw_file(content: bytes, name="scan.nii.gz"):
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return build


def reserved_flag(stream: bytearray) -> bytes:
    stream[3] = 0x20
    return bytes(stream)


def flipped(stream: bytearray) -> bytes:
    stream[len(stream) // 2] ^= 0x10
    return bytes(stream)


def nan_affine(folder: Path) -> Path:
    raw = bytearray(nifti_bytes())
    struct.pack_into("<f", raw, SROW, float("nan"))
    return write(folder, bytes(raw))


def bomb(folder: Path) -> Path:
    """A modest scan with 4 GiB of zeros behind it, in 4 MB."""
    path = folder / "scan.nii.gz"
    zeros = gzip.compress(bytes(1 << 26), 9)
    with path.open("wb") as file:
        file.write(gzip.compress(nifti_bytes()))
        for _ in range(64):
            file.write(zeros)
    return path


def promise(folder: Path) -> Path:
    """A header that promises a GiB in a file that cannot hold it."""
    raw = bytearray(nifti_bytes())
    struct.pack_into("<4h", raw, DIM, 3, 800, 600, 500)
    return write(folder, bytes(raw))


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "scan.nii")
    return folder / "scan.nii"


def singular() -> np.ndarray:
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 1] = affine[:3, 0]
    return affine


def bad_quaternion(folder: Path) -> Path:
    raw = bytearray(nifti_bytes())
    struct.pack_into("<2h3f", raw, QFORM_CODE, 1, 0, 0.9, 0.9, 0.9)
    return write(folder, bytes(raw))


Builder = Callable[[Path], Path]
BAD_FILES: dict[str, tuple[Builder, str]] = {
    "missing file": (lambda folder: folder / "scan.nii.gz", "file-missing"),
    "folder named as a file": (lambda f: (f / "x.nii.gz").mkdir() or f / "x.nii.gz", "not-a-file"),
    "pipe": (pipe, "not-a-file"),
    "empty file": (raw_file(b""), "empty-file"),
    "MGZ": (raw_file(gzip.compress(bytes(500)), "scan.mgz"), "unsupported-format"),
    "Analyze": (raw_file(struct.pack("<i", 348) + bytes(344), "a.nii"), "unsupported-format"),
    "text named .nii.gz": (raw_file(b"not a scan, " * 99), "not-gzip"),
    "text named .nii": (raw_file(b"not a scan, " * 99, "scan.nii"), "not-nifti"),
    "compressed text": (raw_file(gzip.compress(b"not a scan, " * 99)), "not-nifti"),
    "few compressed bytes": (raw_file(gzip.compress(b"abc")), "nifti-truncated"),
    "gzip magic only": (raw_file(b"\x1f\x8b\x08"), "gzip-truncated"),
    "truncated gzip": (compressed(lambda z: bytes(z[: len(z) // 2])), "gzip-truncated"),
    "gzip without its trailer": (compressed(lambda z: bytes(z[:-8])), "gzip-truncated"),
    "flipped bit": (compressed(flipped), "gzip-corrupt"),
    "flipped CRC": (compressed(lambda z: bytes(z[:-8]) + b"abcd" + bytes(z[-4:])), "gzip-corrupt"),
    "reserved gzip flag": (compressed(reserved_flag), "gzip-corrupt"),
    "garbage after gzip": (compressed(lambda z: bytes(z) + b"garbage " * 9), "gzip-corrupt"),
    "truncated .nii": (lambda f: write(f, nifti_bytes()[:-100], "scan.nii"), "nifti-truncated"),
    "truncated inside .gz": (lambda f: write(f, nifti_bytes()[:-100]), "nifti-truncated"),
    "bytes after .nii": (lambda f: write(f, nifti_bytes() + b"1", "scan.nii"), "nifti-extra-data"),
    "gzip bomb": (bomb, "nifti-extra-data"),
    "a GiB promised": (promise, "nifti-truncated"),
    "terabytes promised": (patched(DIM, "4h", 3, 32767, 32767, 32767), "size-too-large"),
    "2 GiB of voxels promised": (patched(DIM, "4h", 3, 1024, 1024, 1024), "size-too-large"),
    "nine dimensions": (patched(DIM, "h", 9), "dimensions"),
    "negative size": (patched(DIM, "4h", 3, 18, -20, 16), "size-nonpositive"),
    "zero size": (patched(DIM, "4h", 3, 18, 0, 16), "size-nonpositive"),
    "2D": (image(ball()[:, :, 8]), "not-3d"),
    "several frames": (image(np.stack([ball()] * 3, -1)), "several-frames"),
    "vector image": (patched(DIM, "6h", 5, 18, 20, 16, 1, 3), "several-frames"),
    "2×2×2": (image(np.arange(8, dtype=np.int16).reshape(2, 2, 2)), "too-small"),
    "complex": (image(lambda: ball().astype(np.complex64)), "dtype-complex"),
    "RGB": (
        image(np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])),
        "dtype-colour",
    ),
    "unknown dtype": (patched(DATATYPE, "h", 777), "dtype-unknown"),
    "voxels inside the header": (patched(VOX_OFFSET, "f", 100.0), "vox-offset"),
    "voxels at infinity": (patched(VOX_OFFSET, "f", float("inf")), "vox-offset"),
    "infinite slope": (patched(SLOPE, "2f", float("inf"), 0.0), "scaling"),
    "infinite intercept": (patched(SLOPE, "2f", 1.0, float("-inf")), "scaling"),
    "NaN affine": (nan_affine, "affine-nonfinite"),
    "singular affine": (image(None, affine=singular()), "affine-singular"),
    "zero affine": (patched(SROW, "12f", *[0.0] * 12), "affine-singular"),
    "qform that is no rotation": (bad_quaternion, "affine-invalid"),
    "affine in metres": (image(None, affine=np.diag([2e-3, 2e-3, 2e-3, 1])), "voxel-size"),
    "all zero": (image(np.zeros(SHAPE, np.int16)), "all-zero"),
    "constant": (image(np.full(SHAPE, 7, np.int16)), "constant"),
    "all NaN": (image(np.full(SHAPE, np.nan, np.float32)), "all-nan"),
    "some NaN": (image(lambda: np.where(ball() > 110, np.nan, ball()).astype("f4")), "nonfinite"),
    "overflow of the scaling": (patched(SLOPE, "2f", 3e38, 0.0), "nonfinite"),
}  # fmt: skip


def empty_folder(folder: Path) -> Path:
    (folder / "study").mkdir()
    (folder / "study" / "sub-01_desc-brain_mask.nii.gz").write_bytes(b"")
    (folder / "study" / "notes.txt").write_text("no scan here")
    return folder / "study"


BAD_INPUTS: dict[str, tuple[Builder, str]] = {
    **BAD_FILES,
    "folder without scans": (empty_folder, "no-scans"),
}
"""Everything that may be named on the command line and must be refused."""
