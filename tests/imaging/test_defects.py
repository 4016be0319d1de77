"""Each defect of a scan's voxels is named, by itself; no healthy brain has one."""

from pathlib import Path

import numpy as np
import pytest
from heads import head
from odd_heads import ct_like
from phantom import T1_LIKE, T2_LIKE, phantom

from dal_fast import DalFastError
from dal_fast.imaging.defects import find_defects, looks_like_ct
from dal_fast.imaging.mask import brain_mask
from dal_fast.imaging.nifti import Volume, read_volume
from dal_fast.screening.brain_verdict import not_found


def scan(data, affine):
    return Volume(np.asfortranarray(data, np.float32), affine, None, Path("scan.nii.gz"), "", 0)


def good(axes="RAS", voxel_mm=(2.0, 2.0, 2.0), intensities=T1_LIKE):
    data, affine, _ = phantom(axes, voxel_mm, intensities, lesion=False)
    brain = data > 0
    return data, affine, brain


def codes(data, affine, brain):
    return [note.code for note in find_defects(scan(data, affine), brain)]


@pytest.mark.parametrize("intensities", [T1_LIKE, T2_LIKE])
@pytest.mark.parametrize(
    ("axes", "voxel_mm"),
    [("RAS", (2.0, 2.0, 2.0)), ("LPI", (1.0, 1.0, 1.5)), ("PSR", (1.0, 1.0, 5.0))],
)
def test_a_good_scan_has_no_defect(axes, voxel_mm, intensities):
    data, affine, brain = good(axes, voxel_mm, intensities)
    assert codes(data, affine, brain) == []
    assert codes((data - data[brain].mean()) / data[brain].std(), affine, brain) == []
    assert codes(data / 1e6, affine, brain) == []


def below(data, axis=2):
    """Which voxels lie in the first half along an axis."""
    index = np.indices(data.shape)[axis]
    return index < data.shape[axis] // 2


def half_the_values(data, axis, step=2):
    """Every second slice along an axis, in the place of the one after it, too."""
    return np.repeat(np.take(data, range(0, data.shape[axis], step), axis), step, axis)[
        tuple(slice(0, size) for size in data.shape)
    ]


def speckled(data, brain):
    """A background of noise about a constant, as a scanner's."""
    return np.where(brain, data, np.random.default_rng(0).uniform(0, 20, data.shape))


# what is done to data and brain, and the codes that this must raise
DEFECTS = {
    "the lower half is 0": (
        lambda d, b: (np.where(below(d), 0, d), b), ["missing-signal", "cut-brain"],
    ),
    "the lower half is 0, and the mask ends there": (
        lambda d, b: (np.where(below(d), 0, d), b & ~below(d)), ["cut-brain"],
    ),
    "a sixth at the front is missing": (
        lambda d, b: (d * (np.indices(d.shape)[1] < 0.78 * d.shape[1]), b & (d > 0)
                      & (np.indices(d.shape)[1] < 0.78 * d.shape[1])), ["cut-brain"],
    ),
    "one hemisphere is 0": (
        lambda d, b: (np.where(below(d, 0), 0, d), b), ["missing-signal", "cut-brain"],
    ),
    "a tenth of the brain is 0": (
        lambda d, b: (np.where(np.indices(d.shape).sum(0) % 10 == 0, 0, d), b), ["missing-signal"],
    ),
    "an offset of 1000, everywhere": (lambda d, b: (d + 1000, b), ["intensity-offset"]),
    "an offset of 1000, in the brain": (
        lambda d, b: (np.where(b, d + 1000, 0), b), ["intensity-offset"],
    ),
    "an offset of 1000 outside": (
        lambda d, b: (np.where(b, d, 350), b), ["intensity-offset"],
    ),
    "a background of -1024": (lambda d, b: (np.where(b, d, -1024), b), ["negative-intensities"]),
    "a twentieth of the brain is negative": (
        lambda d, b: (np.where(b & (np.indices(d.shape).sum(0) % 20 == 0), -5, d), b),
        ["negative-intensities"],
    ),
    "inverted, everywhere": (
        lambda d, b: (np.where(b, 700 - d, 700), b), ["inverted-intensities"],
    ),
    "clipped at 255": (lambda d, b: (np.minimum(d, 255), b), ["clipped-intensities"]),
    "whole numbers clipped at 255": (
        lambda d, b: (np.minimum(np.rint(d), 255), b), ["clipped-intensities"],
    ),
    "every second slice is empty": (
        lambda d, b: (d * (np.indices(d.shape)[2] % 2), b), ["missing-signal", "empty-slices"],
    ),
    "one slice is empty": (
        lambda d, b: (np.where(np.indices(d.shape)[1] == 40, 0, d), b), ["empty-slices"],
    ),
    "every slice twice": (lambda d, b: (half_the_values(d, 2), b), ["repeated-slices"]),
    "one slice twice": (
        lambda d, b: (np.where(np.indices(d.shape)[0] == 40, np.roll(d, 1, 0), d), b),
        ["repeated-slices"],
    ),
    "negated": (lambda d, b: (-d, b), ["inverted-intensities"]),
    "a label map": (
        lambda d, b: (np.ceil(d / 250), b), ["clipped-intensities", "few-intensities"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEFECTS)
@pytest.mark.parametrize("axes", ["RAS", "LPI"])
def test_a_defect_is_named_and_no_other(kind, axes):
    change, expected = DEFECTS[kind]
    data, affine, brain = good(axes)
    changed, mask = change(data, brain)
    raised = codes(changed, affine, mask)
    if kind.startswith("every slice twice"):
        raised = [code for code in raised if code not in ("cut-brain", "missing-signal")]
    assert raised == expected


@pytest.mark.parametrize("air", [-1000, -1024])
def test_a_ct_is_told_by_its_values(air):
    """Stripped and whole; neither another unit with such a background nor a phase image is one."""
    data, affine, brain = good()
    units = 20 + 0.08 * data
    bone = ~brain & (np.indices(data.shape).sum(0) % 9 == 0)
    noise = 5 * np.random.default_rng(0).standard_normal(data.shape)
    for outside in (air, np.where(bone, 900, air + noise)):
        ct = np.where(brain, units + noise, outside)
        assert looks_like_ct(scan(ct, affine))
        assert codes(ct, affine, brain) == ["looks-like-ct"]
    for other in (
        np.where(brain, data + 100, air),
        np.random.default_rng(0).uniform(-4096, 4096, data.shape),
        data,
    ):
        assert not looks_like_ct(scan(other, affine))


def test_a_head_of_ct_values_is_told_from_its_mr_image():
    data, affine, brain = head()
    ct, _ = ct_like(data, affine)
    assert "looks-like-ct" in codes(ct, affine, brain)
    assert "looks-like-ct" not in codes(data, affine, brain)
    assert "the values are those of a CT" in not_found(scan(ct, affine), "it is flat").message
    assert "CT" not in not_found(scan(data, affine), "it is flat").message


def test_one_empty_slice_is_one_slice():
    data, affine, brain = good()
    gone = np.indices(data.shape)[1] == 40
    notes = find_defects(scan(np.where(gone, 0, data), affine), brain)
    assert [note.message for note in notes] == ["1 slice between others holds nothing but 0"]


@pytest.mark.parametrize(
    ("axes", "axis", "side"),
    [("RAS", 2, "inferior"), ("LPI", 2, "superior"), ("RAS", 0, "left"), ("LPI", 0, "right"),
     ("PSR", 0, "anterior"), ("PSR", 1, "inferior")],
)  # fmt: skip
def test_a_cut_says_where(axes, axis, side):
    data, affine, brain = good(axes)
    gone = below(data, axis)
    notes = find_defects(scan(np.where(gone, 0, data), affine), brain & ~gone)
    assert f"at its {side} side" in notes[0].message
    area = float(notes[0].message.split(" cm²")[0].rsplit(" ", 1)[1])
    ellipse = {"left": 80 * 58, "right": 80 * 58, "anterior": 62 * 58}.get(side, 62 * 80)
    assert area == pytest.approx(np.pi * ellipse / 100, rel=0.05)


def test_a_speck_beyond_empty_slices_is_no_gap():
    data, affine, brain = good()
    data[:, :, 0] = data[:, :, -1] = 0
    data[30:33, 30:33, 0] = 500
    assert codes(data, affine, brain) == []


def test_nothing_is_said_of_a_brain_without_signal():
    _, affine, brain = good()
    assert codes(np.where(brain, 0, 9), affine, brain) == []


def test_every_second_slice_empty_is_refused_in_the_right_words(tmp_path):
    """Without a mask it is no brain: its voxels do not hang together."""
    data, affine, _ = good()
    volume = scan(data * (np.indices(data.shape)[2] % 2), affine)
    with pytest.raises(DalFastError, match="slices hold nothing but 0") as refused:
        brain_mask(volume)
    assert refused.value.code == "skull-present"


def test_a_background_of_noise_needs_a_mask_and_has_no_defect():
    data, affine, brain = good()
    assert codes(speckled(data, brain), affine, brain) == []


def healthy(shared_data):
    return sorted(shared_data.glob("ixi-hh-2mm/*/anat/*_desc-brain_T1w.nii.gz"))


@pytest.mark.shared
@pytest.mark.slow
def test_no_healthy_brain_has_a_defect_or_a_doubt(shared_data):
    paths = healthy(shared_data)
    assert len(paths) == 185
    for path in paths:
        volume = read_volume(path)
        assert volume.notes == (), path.name
        assert find_defects(volume, brain_mask(volume).data) == [], path.name


@pytest.mark.shared
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("the lower half is 0", "cut-brain"),
        ("one hemisphere is 0", "cut-brain"),
        ("an offset of 1000, in the brain", "intensity-offset"),
        ("an offset of 1000, everywhere", "intensity-offset"),
        ("a background of -1024", "negative-intensities"),
        ("every second slice is empty", "empty-slices"),
        ("every slice twice", "repeated-slices"),
        ("a label map", "few-intensities"),
    ],
)
def test_defects_of_a_real_brain(shared_data, kind, code):
    volume = read_volume(healthy(shared_data)[0])
    changed, mask = DEFECTS[kind][0](volume.data, brain_mask(volume).data)
    assert code in codes(changed, volume.affine, mask)
