"""The benchmark of brain extraction: what it measures and how it sums that up."""

import io
from dataclasses import replace

import head_phantom
import numpy as np
import pytest
from rich.console import Console

from benchmarks.brain_extraction import (
    Case,
    extracted,
    hausdorff95,
    report,
    report_confidence,
    report_parts,
    scan_of,
)
from dal_fast import InputError
from dal_fast.imaging.head_grid import place_head
from dal_fast.imaging.mask import BrainMask
from dal_fast.imaging.mask_origin import MaskQuality
from dal_fast.imaging.orientation import Note
from dal_fast.synthesis.head_maps import head_maps, load_heads
from dal_fast.synthesis.heads import synthesise_head

SHAPE, MM = (32, 48, 48), 2.5


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    maps = head_phantom.write_maps(tmp_path_factory.mktemp("maps"), 1)
    return synthesise_head(load_heads(head_maps(maps))[0], SHAPE, MM, 10.0, 5)


class Extractor:
    """Finds what it is told to, or refuses."""

    def __init__(self, mask=None, confidence=1.0, notes=()):
        self.mask, self.confidence, self.notes = mask, confidence, notes

    def extract(self, volume):
        if self.mask is None:
            raise InputError("brain-not-found", "none")
        quality = MaskQuality(self.confidence, 1.0, 0.7, 0.9)
        return BrainMask(self.mask, "dal_fast", quality=quality, notes=self.notes)


def test_a_synthetic_head_is_a_scan_of_what_it_covers(sample):
    volume, true = scan_of(sample, MM)
    covered = sample.covered[0, 0]
    assert volume.data.shape == true.shape
    assert volume.data.size == int(covered.sum())
    assert true.sum() == int((sample.distance[0, 0] > 0)[covered].sum())
    placed, grid = place_head(volume, MM, SHAPE)
    assert float(placed.sum()) == pytest.approx(float(sample.image.sum()), rel=0.05)
    assert grid.scan_shape == volume.data.shape


def test_a_found_brain_and_a_refused_one(sample):
    volume, true = scan_of(sample, MM)
    doubt = Note("brain-mask-uncertain", "…")
    case = extracted(Extractor(true, 0.7, (doubt,)), "a", volume, true, ("T1w",))
    assert case.dice == 1
    assert case.hausdorff95_mm == 0
    assert case.flags == ("brain-mask-uncertain",)
    assert case.found_ml == case.true_ml == pytest.approx(true.sum() * MM**3 / 1000)
    assert extracted(Extractor(np.roll(true, 1, 0)), "a", volume, true).dice < 1
    refused = extracted(Extractor(), "b", volume, true)
    assert np.isnan(refused.dice)
    assert refused.flags == ("brain-not-found",)


def test_the_distance_of_surfaces_is_in_millimetres():
    a = np.zeros((20, 20, 20), bool)
    a[5:15, 5:15, 5:15] = True
    assert hausdorff95(a, np.roll(a, 3, 2), (1.0, 1.0, 2.0)) == 6


def test_the_reports_count_what_has_no_flag():
    good = Case("a", ("sub-05", "T1w"), 0.97, 2.0, 1.0, 1.0, 0.99, ())
    cases = [
        good,
        replace(good, dice=0.88, confidence=0.9, drawn=("sub-10", "T2w", "motion")),
        replace(good, dice=0.93, confidence=0.8, flags=("brain-mask-uncertain",)),
        Case("d", ("sub-05", "T2w")),
    ]
    out = io.StringIO()
    console = Console(file=out, width=110)
    report("4 heads", cases, console)
    report_parts(cases, console)
    report_confidence(cases, console)
    said = " ".join(out.getvalue().split())
    assert "4 heads, 1 of them refused" in said
    assert "│ T2w │ 2 │ 0.880 │ 0.880 │ 2.0 │ 1 │ 0 │" in said
    assert "rank correlation 0.50, n = 3" in said
    assert "uncertain: 1 of 3; mean Dice of these 0.930, of the others 0.925" in said
    assert "Dice below 0.94: 2, 1 of them not called uncertain" in said
    assert "Dice below 0.9: 1, 1 of them not called uncertain" in said
