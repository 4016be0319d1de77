"""Each quality flag is raised by its own defect and by nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dal_fast.imaging.mask import BrainMask
from dal_fast.imaging.nifti import Volume
from dal_fast.imaging.orientation import Note
from dal_fast.screening.contrast import KnownContrast
from dal_fast.screening.qc import quality_flags, shape_flags


def case(voxel_mm=(2.0, 2.0, 2.0), side=128, radius=68):
    """A ball of about 1.3 litres in thirds of tissue, well inside its field of view."""
    shape = tuple(round(side * 2 / v / 1.6) for v in voxel_mm)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    middle = (np.array(shape) - 1) / 2
    distance = np.linalg.norm((index - middle) * voxel_mm, axis=-1)
    brain = distance < radius
    tissue = np.where(brain, 1 + (distance < 0.87 * radius) + (distance < 0.69 * radius), 0)
    noise = np.random.default_rng(0).normal(0, 0.02, shape)
    normalised = (np.array([0, 0.2, 0.5, 0.7])[tissue] + noise).astype(np.float32)
    data = np.asfortranarray(np.where(brain, 900 * np.maximum(normalised, 0.01), 0), np.float32)
    affine = np.diag([*voxel_mm, 1.0])
    return {
        "volume": Volume(data, affine, None, Path("sub-01_T1w.nii.gz"), "", 0),
        "brain": brain,
        "tissue": tissue.astype(np.uint8),
        "normalised": normalised,
        "above": np.zeros(shape, bool),
        "known": KnownContrast("T1w", "file name"),
        "looks_like": "T1w",
    }


def codes(**inputs):
    return [flag.code for flag in quality_flags(**inputs)]


def test_a_good_scan_has_no_flag():
    assert codes(**case()) == []
    assert codes(**case((1.0, 1.2, 2.0))) == []


def test_resolution():
    assert codes(**case((1.5, 1.5, 3.5))) == ["low-resolution"]
    assert codes(**case((1.0, 1.0, 2.8))) == ["anisotropic"]
    assert codes(**case((1.0, 1.0, 6.0))) == ["low-resolution", "anisotropic"]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, 1])
def test_cropped(axis, end):
    good = case()
    half = good["brain"].shape[axis] // 2 + (20 if end else -20)
    keep = slice(None, half) if end else slice(half, None)
    cut = tuple(keep if a == axis else slice(None) for a in range(3))
    inputs = {k: v[cut] for k, v in good.items() if isinstance(v, np.ndarray)}
    volume = replace(good["volume"], data=good["volume"].data[cut])
    rest = {name: good[name] for name in ("known", "looks_like")}
    raised = codes(**inputs, volume=volume, **rest)
    assert "cropped-brain" in raised
    assert "cut-brain" not in raised  # the field of view cuts it


def test_brain_volume():
    assert codes(**case(radius=50)) == ["brain-volume"]
    assert codes(**case(side=170, radius=90)) == ["brain-volume"]


def test_tissue():
    inputs = case()
    one = np.where(inputs["brain"], 3, 0).astype(np.uint8)
    assert codes(**{**inputs, "tissue": one}) == ["tissue-share"]
    flat = np.random.default_rng(1).normal(0.5, 0.1, one.shape).astype(np.float32)
    assert codes(**{**inputs, "normalised": flat}) == ["low-contrast"]
    nothing = {**inputs, "tissue": np.zeros_like(one)}
    assert codes(**nothing) == []


def test_tissues_that_drown_in_noise():
    inputs = case()
    for scale, raised in ((0.2, False), (0.3, True)):
        noise = np.random.default_rng(2).normal(0, scale, inputs["tissue"].shape)
        grey = np.array([0, 0.2, 0.5, 0.7])[inputs["tissue"]] + noise
        flags = quality_flags(**{**inputs, "normalised": grey.astype(np.float32)})
        assert [flag.code for flag in flags] == ["low-contrast"] * raised
        assert all("times the noise" in flag.message for flag in flags)


def test_doubts_about_a_mask():
    inputs = case()
    volume, ball = inputs["volume"], BrainMask(inputs["brain"], "file")
    assert [flag.code for flag in shape_flags(volume, ball)] == ["brain-mask-shape"]
    notes = (Note("brain-mask-uncertain", "…"), Note("brain-mask-shape", "…"))
    assert len(shape_flags(volume, replace(ball, notes=notes))) == 2  # it is said once


@pytest.mark.parametrize(("name", "raised"), [("ce-gd_T1w", True), ("acq-ce_T1w", False)])
def test_a_contrast_agent_in_the_name(name, raised):
    inputs = case()
    volume = replace(inputs["volume"], path=Path(f"sub-01_{name}.nii.gz"))
    assert codes(**{**inputs, "volume": volume}) == ["contrast-agent"] * raised


def test_counts():
    inputs = case()
    volume = replace(inputs["volume"], nonfinite=3)
    assert codes(**{**inputs, "volume": volume}) == ["nonfinite-replaced"]
    one = quality_flags(**{**inputs, "volume": replace(volume, nonfinite=1)})
    assert one[0].message == "1 NaN or infinite voxel replaced by 0"
    half = inputs["brain"] & (np.arange(inputs["brain"].shape[0]) % 2 == 0)[:, None, None]
    assert codes(**{**inputs, "above": half}) == ["widespread"]


@pytest.mark.parametrize("known", ["T1w", "T2w", "FLAIR"])
@pytest.mark.parametrize("source", ["option", "file name", "header"])
@pytest.mark.parametrize("looks_like", ["T1w", "T2w", "FLAIR"])
def test_a_contrast_that_the_intensities_contradict(known, source, looks_like):
    inputs = {**case(), "known": KnownContrast(known, source), "looks_like": looks_like}
    flags = quality_flags(**inputs)
    assert [f.code for f in flags] == ["unexpected-contrast"] * (known != looks_like)
    for flag in flags:
        assert (source if source != "option" else "--contrast") in flag.message
    assert codes(**{**inputs, "known": None}) == []
    assert codes(**{**inputs, "tissue": None}) == []


def test_doubts_about_the_header_and_defects_come_first():
    inputs = case()
    volume = inputs["volume"]
    notes = (Note("orientation-unknown", "left and right may be swapped"),)
    doubtful = replace(volume, notes=notes, data=np.where(inputs["brain"], volume.data + 9000, 0))
    flags = quality_flags(**{**inputs, "volume": doubtful})
    assert [flag.code for flag in flags] == ["orientation-unknown", "intensity-offset"]
    assert flags[0].message == "left and right may be swapped"


def test_a_field_beyond_what_maps_are_made_for():
    inputs = case()
    ramp = np.linspace(-1, 1, inputs["tissue"].shape[1])[None, :, None]
    inside = inputs["tissue"] > 0
    slope = 1 / np.broadcast_to(ramp, inside.shape)[inside].std()
    for strength, raised in ((0.0, False), (0.29, False), (0.31, True)):
        bias = np.where(inside, np.exp(strength * slope * ramp), 0).astype(np.float32)
        found = [flag.message for flag in quality_flags(**inputs, bias=bias)]
        assert len(found) == raised
        assert all("31%" in message for message in found)
