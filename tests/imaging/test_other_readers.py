"""What nibabel and ITK both read is read alike; where a header leaves doubts, they are noted."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from imaging.bad_inputs import (
    AFFINE,
    BITPIX,
    DESCRIP,
    DIM,
    PIXDIM,
    QFORM_CODE,
    QUATERN,
    SFORM_CODE,
    SHAPE,
    SIZEOF_HDR,
    SLOPE,
    SROW,
    VOX_OFFSET,
    ball,
    coded,
    put,
    write,
)

from dal_fast.imaging.nifti import read_volume
from dal_fast.imaging.nifti_output import write_volume
from dal_fast.imaging.orientation import position_in_words

ROWS = AFFINE[:3].ravel().tolist()
TURNED = [0.0, 0.70710678, 0.70710678]  # b, c, d of a half turn


def with_extension():
    image = nib.Nifti1Image(ball(), AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension(4, b"<x/>" * 99))
    return image.to_bytes()


def big_endian():
    header = nib.Nifti1Header(endianness=">")
    return nib.Nifti1Image(ball().astype(">i2"), AFFINE, header).to_bytes()


def long_quaternion(by):
    """Only a qform, whose b² + c² + d² is 1 + ``by``."""
    raw = put(coded(0, 1), QUATERN, "3f", *(np.array(TURNED) * np.sqrt(1 + by)))
    stored = np.array(struct.unpack_from("<3f", raw, QUATERN), np.float64)
    assert stored @ stored > 1 + by / 2
    return raw


READ = {
    "sform only": lambda: coded(1, 0),
    "qform only": lambda: coded(0, 1),
    "sform and qform": lambda: coded(1, 1),
    "a scanner's qform, a template's sform": lambda: coded(4, 1),
    "sform code 5": lambda: coded(5, 0),
    "big endian": big_endian,
    "vox_offset 0": lambda: put(coded(1, 1), VOX_OFFSET, "f", 352.0),
    "slope 0": lambda: put(coded(1, 1), SLOPE, "2f", 0.0, 0.0),
    "slope NaN": lambda: put(coded(1, 1), SLOPE, "2f", np.nan, np.nan),
    "one frame": lambda: coded(1, 1, ball()[..., None]),
    "one frame of one component": lambda: coded(1, 1, ball()[..., None, None]),
    "padding": lambda: coded(1, 1) + bytes(160),
    "extension": with_extension,
    "intent code": lambda: put(coded(1, 1), 68, "h", 1002),
    "descrip in Latin-1": lambda: put(coded(1, 1), DESCRIP, "9s", "Schädel é".encode("latin-1")),
    "bits a voxel not stated": lambda: put(coded(1, 1), BITPIX, "h", 0),
    "length of the header not stated": lambda: put(coded(1, 1), SIZEOF_HDR, "i", 0),
    "qfac 0 beside an sform": lambda: put(coded(1, 0), PIXDIM, "f", 0.0),
    "the magic of a pair": lambda: put(coded(1, 1), 344, "4s", b"ni1\0"),
    "uint64": lambda: coded(1, 1, ball().astype(np.uint64)),
    "float64": lambda: coded(1, 1, ball().astype(np.float64)),
}

NOT_BY_ITK = {
    "NIfTI-2": lambda: nib.Nifti2Image(ball(), AFFINE).to_bytes(),
    "slope 0, intercept 7": lambda: put(coded(1, 1), SLOPE, "2f", 0.0, 7.0),  # ITK adds the 7
}


def itk(path):
    """Voxels (I, J, K) and affine in RAS+ as ITK has them."""
    image = sitk.ReadImage(str(path))
    if image.GetDimension() > 3:
        image = image[(slice(None),) * 3 + (0,) * (image.GetDimension() - 3)]
    axes = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ affine


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("kind", [*READ, *NOT_BY_ITK])
def test_read_as_nibabel_and_itk_read_it(tmp_path, kind, name):
    path = write(tmp_path, bytes((READ | NOT_BY_ITK)[kind]()), name)
    volume = read_volume(path)
    assert volume.notes == ()
    theirs = nib.load(path)
    np.testing.assert_array_equal(volume.data, theirs.get_fdata().reshape(SHAPE))
    np.testing.assert_array_equal(volume.affine, theirs.affine)
    if kind in NOT_BY_ITK:
        return
    data, affine = itk(path)
    np.testing.assert_array_equal(volume.data, data.reshape(SHAPE))
    np.testing.assert_allclose(volume.affine, affine, atol=1e-3)


@pytest.mark.parametrize("excess", [1e-6, 1e-4, 5e-3])
def test_a_quaternion_a_little_too_long_is_read_as_itk_reads_it(tmp_path, excess):
    """nibabel says "w2 should be positive"; the maps are written so that it reads them."""
    path = write(tmp_path, bytes(long_quaternion(excess)))
    volume = read_volume(path)
    with pytest.raises(ValueError, match="w2 should be positive"):
        _ = nib.load(path).affine
    np.testing.assert_allclose(volume.affine, itk(path)[1], atol=1e-3)
    assert volume.notes == ()
    write_volume(tmp_path / "map.nii.gz", volume.data, volume)
    np.testing.assert_allclose(nib.load(tmp_path / "map.nii.gz").affine, volume.affine, atol=1e-4)


GZIP = {
    "several members": lambda raw: gzip.compress(raw[:5000]) + gzip.compress(raw[5000:]),
    "an empty member at the end": lambda raw: gzip.compress(raw) + gzip.compress(b""),
    "zeros at the end": lambda raw: gzip.compress(raw) + bytes(512),
    "stored, not compressed": lambda raw: gzip.compress(raw, 0),
}


@pytest.mark.parametrize("name", ["scan.nii.gz", "SCAN.NII.GZ"])
@pytest.mark.parametrize("kind", GZIP)
def test_every_kind_of_gzip_stream_is_read(tmp_path, kind, name):
    raw = bytes(coded(1, 1))
    path = tmp_path / name
    path.write_bytes(GZIP[kind](raw))
    np.testing.assert_array_equal(read_volume(path).data, ball())


@pytest.mark.parametrize("noise", [0.0, 352.00003, 351.99997, 352.9])
def test_vox_offset_with_the_noise_of_a_float(tmp_path, noise):
    path = write(tmp_path, bytes(put(coded(1, 1), VOX_OFFSET, "f", noise)))
    np.testing.assert_array_equal(read_volume(path).data, ball())


def test_a_frame_count_of_zero_is_one(tmp_path):
    path = write(tmp_path, bytes(put(coded(1, 1), DIM, "5h", 4, *SHAPE, 0)))
    np.testing.assert_array_equal(read_volume(path).data, ball())


# -- doubts -----------------------------------------------------------------------------------


def sform(raw, affine, code=1):
    put(raw, SFORM_CODE, "h", code)
    return put(raw, SROW, "12f", *np.asarray(affine)[:3].ravel())


def turned(degrees, offset=(0, 0, 0)):
    """``AFFINE`` turned about the scanner's long axis and moved."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[:2, :2] = [[cosine, -sine], [sine, cosine]]
    turn[:3, 3] = offset
    middle = np.eye(4)
    middle[:3, 3] = (AFFINE @ [*(np.array(SHAPE) - 1) / 2, 1])[:3]
    return middle @ turn @ np.linalg.inv(middle) @ AFFINE


MIRROR = np.diag([-1, 1, 1, 1])
DOUBTS = {
    "neither is set": (lambda: coded(0, 0), "orientation-unknown", "codes are 0"),
    "neither is set, negative sizes": (
        lambda: put(coded(0, 0), PIXDIM + 4, "f", -2.0), "orientation-unknown", "codes are 0",
    ),
    "mirrored": (
        lambda: sform(coded(1, 1), MIRROR @ AFFINE), "orientation-unknown", "mirror images",
    ),
    "mirrored, with a template's code": (
        lambda: sform(coded(1, 1), MIRROR @ AFFINE, 4), "orientation-unknown", "mirror images",
    ),
    "turned by 90°": (lambda: sform(coded(1, 1), turned(90)), "orientation-unknown", "90°"),
    "turned by 180°": (lambda: sform(coded(1, 1), turned(180), 2), "orientation-unknown", "180°"),
    "turned by 30°": (lambda: sform(coded(1, 1), turned(30)), "position-uncertain", "30°"),
    "moved": (lambda: sform(coded(1, 1), turned(0, (0, 60, 0))), "position-uncertain", "60 mm"),
    "the identity": (
        lambda: nib.Nifti1Image(ball(), np.eye(4)).to_bytes(), "orientation-unknown", "default",
    ),
    "the identity as a scanner's": (
        lambda: sform(coded(1, 0), np.diag([1.5, 1.5, 3, 1])), "orientation-unknown", "default",
    ),
    "ITK's default": (
        lambda: nib.Nifti1Image(ball(), np.diag([-2.0, -2, 2, 1])).to_bytes(),
        "orientation-unknown", "default",
    ),
    "a code that NIfTI does not have": (
        lambda: put(coded(1, 0), SFORM_CODE, "h", 77), "orientation-unknown", "sform_code is 77",
    ),
    "a qform code that NIfTI does not have": (
        lambda: put(coded(0, 1), QFORM_CODE, "h", 9), "orientation-unknown", "qform_code is 9",
    ),
    "qfac -0.5": (lambda: put(coded(0, 1), PIXDIM, "f", -0.5), "orientation-unknown", "pixdim[0]"),
    "zero sform beside a qform": (
        lambda: put(coded(1, 1), SROW, "12f", *[0.0] * 12), "sform-unusable", "all zero",
    ),
    "NaN in the sform beside a qform": (
        lambda: put(coded(1, 1), SROW, "f", np.nan), "sform-unusable", "not usable",
    ),
    "a negative size beside a qform": (
        lambda: put(coded(0, 1), PIXDIM + 4, "f", -2.0), "orientation-unknown", "negative",
    ),
    "a negative size beside an sform": (
        lambda: put(coded(1, 0), PIXDIM + 4, "f", -2.0), "orientation-unknown", "negative",
    ),
    "a size of 0 beside a qform": (
        lambda: put(coded(0, 1), PIXDIM + 4, "f", 0.0), "voxel-size-uncertain", "1 × 3 × 1.5 mm",
    ),
    "a size of 0 beside an sform": (
        lambda: put(coded(1, 0), PIXDIM + 4, "f", 0.0), "voxel-size-uncertain", "2 × 3 × 1.5 mm",
    ),
    "a size of 0, neither is set": (
        lambda: put(coded(0, 0), PIXDIM + 4, "f", 0.0), "orientation-unknown", "codes are 0",
    ),
    "a size of 0, which is unknown": (
        lambda: put(coded(0, 0), PIXDIM + 4, "f", 0.0), "voxel-size-uncertain", "1 × 3 × 1.5 mm",
    ),
    "metres, neither is set": (
        lambda: put(coded(0, 0), 123, "B", 1), "voxel-size-uncertain", "metres",
    ),
    "NaN as a size beside an sform": (
        lambda: put(coded(1, 1), PIXDIM + 4, "f", np.nan), "voxel-size-uncertain", "nan × 3",
    ),
    "metres": (lambda: put(coded(1, 1), 123, "B", 1), "voxel-size-uncertain", "metres"),
    "sizes of pixdim twice the sform's": (
        lambda: put(coded(1, 0), PIXDIM + 4, "3f", 4, 6, 3), "voxel-size-uncertain", "4 × 6 × 3 mm",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", DOUBTS)
def test_a_doubt_is_noted_and_the_scan_is_read(tmp_path, kind):
    build, code, words = DOUBTS[kind]
    volume = read_volume(write(tmp_path, bytes(build())))
    np.testing.assert_array_equal(volume.data, ball())
    assert code in [note.code for note in volume.notes]
    assert any(words in note.message for note in volume.notes if note.code == code)
    write_volume(tmp_path / "map.nii.gz", volume.data, volume)
    again = read_volume(tmp_path / "map.nii.gz")
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "kind",
    [name for name in DOUBTS if "NaN in" not in name and "zero sform" not in name
     and name not in ("qfac -0.5", "a code that NIfTI does not have",
                      "a qform code that NIfTI does not have")],
)  # fmt: skip
def test_a_doubtful_affine_is_nibabels(tmp_path, kind):
    path = write(tmp_path, bytes(DOUBTS[kind][0]()))
    np.testing.assert_allclose(read_volume(path).affine, nib.load(path).affine, atol=1e-5)


@pytest.mark.parametrize("kind", ["zero sform beside a qform", "NaN in the sform beside a qform"])
def test_a_map_beside_a_broken_sform_is_placed_by_the_qform(tmp_path, kind):
    volume = read_volume(write(tmp_path, bytes(DOUBTS[kind][0]())))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)
    write_volume(tmp_path / "map.nii.gz", volume.data, volume)
    np.testing.assert_allclose(nib.load(tmp_path / "map.nii.gz").affine, AFFINE, atol=1e-4)


SOUND = {
    "a template's sform turned by 30° and moved": lambda: sform(
        coded(1, 1), turned(30, (0, 60, 0)), 4
    ),
    "a qform that rounding moved": lambda: sform(coded(1, 1), turned(0.2, (0, 0.1, 0))),
    "no offset, and left to the right": lambda: put(
        sform(coded(1, 0), np.diag([-1.0, 1, 1, 1])), PIXDIM + 4, "3f", 1, 1, 1
    ),
    "a qform that is no rotation, not set": lambda: put(coded(1, 0), QUATERN, "3f", 9, 9, 9),
    "a qform that is no rotation beside a good sform": lambda: put(
        coded(1, 1), QUATERN, "3f", 9, 9, 9
    ),
    "qfac 0": lambda: put(coded(0, 1), PIXDIM, "f", 0.0),
    "qfac NaN": lambda: put(coded(0, 1), PIXDIM, "f", np.nan),
}


@pytest.mark.parametrize("kind", SOUND)
def test_no_doubt_without_reason(tmp_path, kind):
    assert read_volume(write(tmp_path, bytes(SOUND[kind]()))).notes == ()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((-28, 0, 19), "28 mm left, 0 mm anterior, 19 mm superior"),
        ((28.4, -3.2, -7), "28 mm right, 3 mm posterior, 7 mm inferior"),
        ((-0.3, -0.4, 0), "0 mm left or right, 0 mm anterior, 0 mm superior"),
    ],
)
def test_places_in_words(place, words):
    assert position_in_words(place) == words


def test_a_place_without_a_known_side():
    text = position_in_words((-28, -4, 19), side_known=False)
    assert text == "28 mm left or right, 4 mm posterior, 19 mm superior"
