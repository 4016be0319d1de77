"""Every brain and head of ../shared/data through Python and through the C interface.

Some of the brains also by the reference instead of the compiled kernels; there voxels are joined by
``tests/chain/exact_tfce.py`` instead of the reference of ``tfce3d``, which would take hours.

For minutes: ``pytest tests/capi/test_agreement.py -m long -n0 -s`` prints how far each is apart.
"""

import os

import numpy as np
import pytest
from capi import native
from capi.native import ABOVE, BRAIN, HEALTHY, MAP
from chain.exact_tfce import instead_of_the_reference

from dal_fast import Screener, context, reference
from dal_fast.imaging.mask import BrainMask
from dal_fast.imaging.nifti import read_volume
from dal_fast.screening.scan import Head, scan_of

pytestmark = [pytest.mark.long, pytest.mark.shared]
DATA = native.ROOT.parent / "shared/data"
SCANS = sorted(
    str(path.relative_to(DATA))
    for kind in ("ixi-hh-2mm/*/anat/*_desc-brain_T1w", "mslub/*/anat/*", "heads/*/anat/*")
    for path in DATA.glob(f"{kind}.nii.gz")
    if not path.name.endswith("_mask.nii.gz")
)
SIDE = 256
BY_REFERENCE = [name for name in SCANS if not name.startswith("heads")][:10] + [
    name for name in SCANS if name.startswith("mslub")
][:1]


@pytest.fixture(scope="module")
def screener(engine_path):
    context.set_threads(1)
    yield Screener(runtime="openvino", device="cpu")
    context.set_threads(None)


@pytest.fixture(scope="module")
def session(lib, engine_path, request):
    """One session for all, of one thread; DAL_FAST_BUNDLE names a bundle that is there already."""
    bundle = os.environ.get("DAL_FAST_BUNDLE") or request.getfixturevalue("bundle")
    engine = native.Engine(lib, bundle, engine_path, threads=1)
    session = native.Session(engine, extraction=1, max_shape=(SIDE,) * 3)
    yield session
    session.close()
    engine.close()


def both(screener, session, name):
    """What Python finds, and what C finds."""
    volume = read_volume(DATA / name)
    stem = name.split("/")[-1].removesuffix(".nii.gz")
    if name.startswith("heads"):
        mask, scan = None, Head(stem, volume, "strip", {})
    else:
        mask = np.asfortranarray(volume.data != 0).astype(np.uint8)
        scan = scan_of(volume, BrainMask(mask > 0, "file"), stem, {})
    result = screener.screen_scan(scan)
    contrast = native.CONTRASTS[result.parameters["contrast"]]
    everything = (MAP, ABOVE, BRAIN, HEALTHY)
    return result, session.run(volume.data, volume.affine, mask, everything, contrast=contrast)


def differences(result, found):
    """Of the maps, as shares of the threshold; of the scores, relative; voxels of the masks."""
    summary, outputs, regions = found
    healthy = np.abs(result.pseudo_healthy.data - outputs[HEALTHY]).max()
    scale = np.abs(result.pseudo_healthy.data).max()
    return {
        "map": float(np.abs(result.anomaly.data - outputs[MAP]).max() / summary.threshold),
        "score": abs(summary.score / result.score - 1),
        "anomaly mask": int((result.anomaly_mask.data != outputs[ABOVE]).sum()),
        "brain mask": int((result.brain_mask.data != outputs[BRAIN]).sum()),
        "pseudo-healthy": float(healthy / scale),
        "regions": abs(len(regions) - len(result.regions)),
    }


@pytest.mark.parametrize("name", SCANS)
def test_python_and_c_agree(screener, session, name):
    apart = differences(*both(screener, session, name))
    print(name, *(f"{what} {value:.2g}" for what, value in apart.items()), sep=", ", flush=True)
    assert apart["map"] <= 1e-3
    assert apart["score"] <= 1e-4
    assert apart["pseudo-healthy"] <= 1e-4
    assert (apart["anomaly mask"], apart["brain mask"], apart["regions"]) == (0, 0, 0)


@pytest.mark.parametrize("name", BY_REFERENCE)
def test_the_reference_and_c_agree(session, engine_path, monkeypatch, name):
    """The same networks, and nothing else in common; most of torch's own kernels sum in float32."""
    monkeypatch.setattr(reference, "tfce3d", instead_of_the_reference)
    with context.use(backend="reference", threads=1):
        screener = Screener(runtime="openvino", device="cpu")
        apart = differences(*both(screener, session, name))
    print(name, *(f"{what} {value:.2g}" for what, value in apart.items()), sep=", ", flush=True)
    assert apart["map"] <= 1e-3
    assert apart["score"] <= 1e-4
    assert (apart["anomaly mask"], apart["brain mask"], apart["regions"]) == (0, 0, 0)
