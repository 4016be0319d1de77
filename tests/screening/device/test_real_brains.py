"""The chain for a GPU, run on the CPU, against the CPU's own: real brains, painted lesions."""

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import needs_default_weights

from dal_fast import Screener
from dal_fast.models import load_screening_model
from dal_fast.ops import VoxelMetrics
from dal_fast.screening.device import DeviceChain, runner
from dal_fast.screening.device.chain import Options
from dal_fast.screening.scan import load_scan
from dal_fast.synthesis.brains import bids_sources, load_brains
from dal_fast.synthesis.recipe import VariedRecipe
from dal_fast.synthesis.synthesiser import Synthesiser

pytestmark = [pytest.mark.shared, pytest.mark.long, needs_default_weights]

CONTRASTS = (("T1w", "T2w"), ("T2w", "FLAIR"), ("FLAIR", "T1w"))  # of each brain
MOST = 1e-3  # of the threshold; a hundredth is what is asked for
CLOSE = 1e-5  # of average precisions


def paint(folder, brain, contrast, seed):
    """Files of a scan and its mask, and its lesions."""
    recipe = VariedRecipe().only(contrast).with_lesions(1.0)
    synthesiser = Synthesiser(torch.Generator().manual_seed(seed), recipe)
    scan = brain.scans["T1w"].float()
    if contrast == "T1w":
        sample = synthesiser.keep(scan, brain.structures, contrast)
    else:
        sample = synthesiser.recolour(scan, brain.structures)
    paths = [folder / f"sub-{seed}_{name}.nii" for name in (contrast, "mask")]
    for path, volume in zip(paths, (sample.image, sample.mask.to(torch.uint8)), strict=True):
        nib.save(nib.Nifti1Image(volume[0, 0].numpy(), np.diag([2.0, 2, 2, 1])), path)
    return *paths, sample.lesion


@pytest.fixture(scope="module")
def cases(tmp_path_factory, shared_data):
    """``[(scan, contrast, lesions)]``."""
    source = shared_data / "ixi-hh-2mm"
    if not source.exists():
        pytest.skip(f"there is no {source}")
    folder, found = tmp_path_factory.mktemp("painted"), []
    for n, brain in enumerate(load_brains(bids_sources(source, held_out=True)[:3])):
        for m, contrast in enumerate(CONTRASTS[n]):
            path, mask, lesion = paint(folder, brain, contrast, 10 * n + m)
            found.append((load_scan(path, mask), contrast, lesion))
    return found


def run(cases):
    screener = Screener("default", runtime="torch", device="cpu")
    options = Options("enhanced", 0, 1.0)
    model = load_screening_model("default")
    chain = DeviceChain(model, screener.calibration, "cpu", options)
    return chain.run([chain.plan(scan, contrast) for scan, contrast, _ in cases])


@pytest.fixture
def one_at_a_time(monkeypatch):
    """Torch on a CPU normalises within .0002 only in the channels-last layout, and otherwise for
    two scans than for one: logits differ by .0007, a map by .15 of the threshold."""
    monkeypatch.setattr(runner, "BATCH", 1)


def average_precision(maps, cases):
    metrics = VoxelMetrics()
    for anomaly, (scan, _, lesion) in zip(maps, cases, strict=True):
        volumes = (torch.from_numpy(np.ascontiguousarray(v)) for v in (anomaly, scan.mask.data))
        score, brain = (volume[None, None] for volume in volumes)
        metrics.update(score, lesion, brain)
    return metrics.average_precision()


@pytest.mark.timeout(600)
def test_maps_masks_and_average_precision_are_the_cpus(cases, one_at_a_time):
    """In float32. With networks in bfloat16 they are not: the average precision of these six scans
    falls from .263 to .212."""
    screener = Screener("default", runtime="torch", device="cpu")
    want = [screener.screen_scan(scan) for scan, *_ in cases]
    got = run(cases)
    found = 0
    for ours, theirs in zip(got, want, strict=True):
        threshold = theirs.parameters["threshold"]
        assert (ours.contrast, ours.sign) == tuple(
            theirs.parameters[key] for key in ("contrast", "sign")
        )
        assert np.abs(ours.anomaly - theirs.anomaly.data).max() < MOST * threshold
        near = np.abs(theirs.anomaly.data - threshold) < MOST * threshold
        assert not ((ours.above != theirs.anomaly_mask.data) & ~near).any()
        assert (ours.tissue != theirs.tissue.data).mean() < 1e-4
        found += int(ours.above.sum())
    assert found > 500  # there is something to compare
    exact = average_precision([result.anomaly.data for result in want], cases)
    assert abs(average_precision([one.anomaly for one in got], cases) - exact) < CLOSE
