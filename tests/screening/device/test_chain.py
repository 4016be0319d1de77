"""The chain for a GPU, run on the CPU, against the chain for a CPU: the same but for rounding."""

import numpy as np
import pytest
import torch
from cuda_on_host.build import why_not
from engines import host_cuda
from phantom import T1_LIKE, T2_LIKE, phantom, save
from tiny import needs_default_weights, tiny_weights

from dal_fast import InputError, Screener
from dal_fast.models import DAL, DALConfig, load_screening_model, save_weights
from dal_fast.ops import _gpu_stages as gpu
from dal_fast.screening.device import DeviceChain, regions, runner
from dal_fast.screening.device.chain import Options
from dal_fast.screening.device.precision import in_precision
from dal_fast.screening.postprocess import regions as regions_on_host
from dal_fast.screening.result import Image
from dal_fast.screening.runtimes import precision
from dal_fast.screening.scan import load_scan

MOST = 0.01  # of the threshold


def chain_of(screener, weights, score="enhanced", median=0, threshold=1.0, precision="float32"):
    options = Options(score, median, threshold)
    model = load_screening_model(weights)
    return DeviceChain(model, screener.calibration, "cpu", options, precision)


@pytest.fixture
def one_at_a_time(monkeypatch):
    """On a CPU torch's normalisation of two scans in the channels-last layout is less exact than
    that of one, by some thousandths of an untrained network's logits."""
    monkeypatch.setattr(runner, "BATCH", 1)


def compare(got, want, mask_may_differ=0):
    """A :class:`Screened` and a result of the same scan."""
    threshold = want.parameters["threshold"]
    assert want.anomaly.data.max() > 0.3 * threshold  # there is something to compare
    np.testing.assert_allclose(got.anomaly, want.anomaly.data, rtol=0, atol=MOST * threshold)
    differing = int((got.above != want.anomaly_mask.data).sum())
    near = np.abs(want.anomaly.data - threshold) < MOST * threshold
    assert differing <= mask_may_differ + int(near.sum())
    top = want.pseudo_healthy.data.max()
    np.testing.assert_allclose(got.pseudo_healthy, want.pseudo_healthy.data, atol=1e-3 * top)
    assert (got.tissue != want.tissue.data).mean() < 1e-3
    np.testing.assert_allclose(got.bias, want.bias.data, atol=1e-3)
    assert got.score == pytest.approx(want.score, rel=MOST)
    for key in ("contrast", "sign"):
        assert getattr(got, key) == want.parameters[key]
    assert np.array_equal(got.affine, want.tissue.affine)
    if differing == 0:
        assert len(got.regions) == len(want.regions)
        for ours, theirs in zip(got.regions, want.regions, strict=True):
            assert ours.volume_ml == pytest.approx(theirs.volume_ml)
            assert ours.centre == pytest.approx(theirs.centre)
            assert ours.peak == pytest.approx(theirs.peak, rel=MOST)
            assert ours.mean == pytest.approx(theirs.mean, rel=MOST)


def full_weights(folder):
    """Untrained, with every part that the shipped model has."""
    torch.manual_seed(0)
    config = DALConfig(tissue_widths=(4, 8), tissue_input="evidence", residual_head_widths=(4, 8))
    model = DAL(config)
    save_weights(folder / "full.safetensors", model, {}, parts=model.parts)
    return folder / "full.safetensors"


@needs_default_weights
def test_the_shipped_model(tmp_path):
    data, affine, _ = phantom("LPS", (3.0, 3.0, 4.0))
    scan = load_scan(save(tmp_path / "sub-1_T2w.nii.gz", data, affine))
    screener = Screener("default", runtime="torch", device="cpu")
    chain = chain_of(screener, "default")
    want = screener.screen_scan(scan)
    assert want.anomaly_mask.data.any()
    compare(chain.run([chain.plan(scan, want.parameters["contrast"])])[0], want)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_scans_of_any_grid_and_contrast(tmp_path, one_at_a_time):
    """Several at a time, two of them in one bucket, one oblique, one standardised T1w."""
    scans = {}
    for name, axes, mm, kind, seed in (
        ("a_T2w", "LPS", (2.0, 2.0, 3.0), T2_LIKE, 0),
        ("b_T2w", "LPS", (2.0, 2.0, 3.0), T2_LIKE, 1),
        ("c_T1w", "PSR", (1.3, 2.2, 3.1), T1_LIKE, 2),
    ):
        data, affine, _ = phantom(axes, mm, kind, seed=seed)
        scans[name] = data, affine
    data, affine, _ = phantom("RAS", (2.0, 2.0, 3.0))
    turned = affine.copy()
    turned[:2, :2] = affine[:2, :2] @ [[0.98, -0.2], [0.2, 0.98]]
    scans["d_FLAIR"] = data, turned
    data, affine = scans["c_T1w"]
    level, spread = data[data > 0].mean(), data[data > 0].std()
    scans["c_T1w"] = np.where(data > 0, (data - level) / spread, 0), affine
    weights = full_weights(tmp_path)
    screener = Screener(weights, runtime="torch", device="cpu", threshold=0.2)
    chain = chain_of(screener, weights, threshold=0.2)
    loaded = [
        load_scan(save(tmp_path / f"sub-{name}.nii.gz", d.astype(np.float32), a))
        for name, (d, a) in scans.items()
    ]
    want = [screener.screen_scan(scan) for scan in loaded]
    known = [name.split("_")[1] for name in scans]
    plans = [chain.plan(s, contrast) for s, contrast in zip(loaded, known, strict=True)]
    assert plans[0].bucket == plans[1].bucket
    assert plans[3].bucket.to_model is None
    for got, result in zip(chain.run(plans), want, strict=True):
        compare(got, result)


@pytest.mark.parametrize(
    ("score", "median", "threshold"), [("enhanced_positive", 3, 0.4), ("enhanced_negative", 0, 0.2)]
)
def test_options_and_small_models(tmp_path, score, median, threshold):
    weights = tiny_weights(tmp_path)
    options = {"score": score, "median": median, "threshold": threshold}
    screener = Screener(weights, runtime="torch", device="cpu", **options)
    data, affine, _ = phantom("LAS", (3.0, 3.0, 4.0))
    scan = load_scan(save(tmp_path / "sub-1_T2w.nii.gz", data, affine))
    chain = chain_of(screener, weights, score, median, threshold)
    compare(chain.run([chain.plan(scan, "T2w")])[0], screener.screen_scan(scan))


def test_a_batch_does_not_mix_its_scans(tmp_path):
    weights = tiny_weights(tmp_path)
    screener = Screener(weights, runtime="torch", device="cpu")
    chain = chain_of(screener, weights)
    plans = []
    for seed in (0, 1):
        data, affine, _ = phantom("LAS", (3.0, 3.0, 4.0), seed=seed)
        scan = load_scan(save(tmp_path / f"sub-{seed}_T2w.nii.gz", data, affine))
        plans.append(chain.plan(scan, "T2w"))
    assert plans[0].bucket == plans[1].bucket
    first, second = chain.run(plans)
    again, other = chain.run([plans[1], plans[0]])[::-1]
    assert not np.allclose(first.anomaly, second.anomaly, atol=MOST)
    for one, same in ((first, again), (second, other)):  # a neighbour changes nothing
        np.testing.assert_allclose(one.anomaly, same.anomaly, atol=1e-3)
        assert one.score == pytest.approx(same.score, rel=1e-4)


def test_networks_in_bfloat16(tmp_path):
    weights = full_weights(tmp_path)
    screener = Screener(weights, runtime="torch", device="cpu")
    data, affine, _ = phantom("LAS", (3.0, 3.0, 4.0))
    scan = load_scan(save(tmp_path / "sub-1_T2w.nii.gz", data, affine))
    full, half = (chain_of(screener, weights, precision=p) for p in ("float32", "bfloat16"))
    a, b = (chain.run([chain.plan(scan, "T2w")])[0] for chain in (full, half))
    assert not np.array_equal(a.anomaly, b.anomaly)
    assert np.abs(a.anomaly - b.anomaly).mean() < 0.05 * a.anomaly[a.anomaly > 0].mean()


def test_added_input_channels_change_nothing(tmp_path):
    """TF32 is a GPU's: on a CPU the networks differ by their added channels alone."""
    weights = full_weights(tmp_path)
    plain, wide = load_screening_model(weights), load_screening_model(weights)
    in_precision(wide, "tf32")
    inputs = {"tissue": 7, "residual_head": 11}
    for name, channels in inputs.items():
        x = torch.rand(2, channels, 16, 16, 24, generator=torch.Generator().manual_seed(0))
        ours, theirs = (m.part(name) for m in (wide, plain))
        network = ours.unet if name == "residual_head" else ours
        assert network.more == -channels % 8 > 0
        with torch.inference_mode():
            torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)


def test_precisions_are_set_back(tmp_path):
    place, name = precision._places()[0]
    with precision.full_precision():
        exact = getattr(place, name)
        with precision.tf32_convolutions():
            assert getattr(place, name) != exact
        assert getattr(place, name) == exact


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(why_not()), reason=why_not() or "")
def test_with_the_kernels_that_a_gpu_has(tmp_path, monkeypatch):
    """The chain through its CUDA kernels, their threads played by the CPU, and through torch."""
    weights = full_weights(tmp_path)
    screener = Screener(weights, runtime="torch", device="cpu")
    data, affine, _ = phantom("LAS", (4.0, 4.0, 4.0))
    scan = load_scan(save(tmp_path / "sub-1_T2w.nii.gz", data, affine))
    chain = chain_of(screener, weights)
    (want,) = chain.run([chain.plan(scan, None)])
    used = []
    monkeypatch.setattr(gpu, "served", lambda *tensors, halves=False: used.append(1) or True)
    with host_cuda("fast"):
        (got,) = chain.run([chain.plan(scan, None)])
    assert len(used) > 20
    assert want.anomaly.max() > 0.3
    np.testing.assert_allclose(got.anomaly, want.anomaly, rtol=0, atol=MOST)
    assert got.score == pytest.approx(want.score, rel=MOST)
    assert (got.sign, got.contrast) == (want.sign, want.contrast)


@pytest.mark.parametrize("ahead", [0, 1])
def test_batches_come_home_while_others_are_computed(tmp_path, monkeypatch, ahead):
    """Every result in its place, and the next batch begun before the oldest is waited for."""
    monkeypatch.setattr(runner, "BATCH", 2)
    monkeypatch.setattr(runner, "AHEAD", ahead)
    events = []

    class Chain(runner.DeviceChain):
        def __init__(self):
            self._transfers = None

        def _begin(self, plans, bucket):
            events.append(f"begin {len(plans)} of {bucket}")
            return runner.Arriving([plan.name for plan in plans])

        def _screened(self, outputs, n, of):
            events.append(f"take {outputs[n]}")
            assert outputs[n] == of.name
            return of.name

    class Planned:
        def __init__(self, name):
            self.name, self.bucket = name, name[0]

    names = ["a1", "b1", "a2", "a3", "b2"]
    assert Chain().run([Planned(name) for name in names]) == names
    begun = [i for i, event in enumerate(events) if event.startswith("begin")]
    first_taken = events.index("take a1")
    assert sum(i < first_taken for i in begun) == 1 + ahead
    assert [events[i] for i in begun] == ["begin 2 of a", "begin 1 of a", "begin 2 of b"]


def test_a_scan_that_cannot_be_screened_is_its_own_error(tmp_path):
    weights = tiny_weights(tmp_path)
    screener = Screener(weights, runtime="torch", device="cpu")
    chain = chain_of(screener, weights)
    data, affine, _ = phantom("LAS", (3.0, 3.0, 4.0))
    mask = save(tmp_path / "mask.nii.gz", (data > 0).astype(np.uint8), affine)
    empty = np.zeros_like(data)
    empty[0, 0, 0] = 1
    scans = [
        load_scan(save(tmp_path / f"{n}_T2w.nii.gz", d.astype(np.float32), affine), mask)
        for n, d in enumerate((data, empty, 1e-42 * data))
    ]
    found = chain.run([chain.plan(scan, "T2w") for scan in scans])
    assert not isinstance(found[0], InputError)
    for scan, error in zip(scans[1:], found[1:], strict=True):
        with pytest.raises(InputError) as caught:
            screener.screen_scan(scan)
        assert isinstance(error, InputError)
        assert error.code == caught.value.code == "no-signal"
        assert str(error) == str(caught.value)


@pytest.mark.parametrize("capacity", [1024, 5])
def test_regions_are_those_of_the_host(monkeypatch, capacity):
    """Also where the table does not hold them all."""
    monkeypatch.setattr(regions, "CAPACITY", capacity)
    monkeypatch.setattr(runner, "CAPACITY", capacity)
    generator = torch.Generator().manual_seed(0)
    values = torch.rand((2, 11, 13, 17), generator=generator).mul(8).round().div(4)  # with ties
    above = values >= 1.75
    found = regions.find_regions(values, above)
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    for n in range(2):
        image = Image(values[n].numpy().T, affine)
        want = regions_on_host(image, above[n].numpy().T)
        assert len(want) > 5
        one = runner.tree(lambda t, n=n: t[n].numpy(), found)
        holder = type("Holder", (), {"anomaly": values[n].numpy(), "above": above[n].numpy()})
        holder.regions = one
        assert runner._regions(holder, image) == want


def test_a_screener_uses_it(tmp_path, one_at_a_time):
    """As it does on a GPU: heads and scans in a batch, the same results, flags and parameters."""
    weights = tiny_weights(tmp_path)
    screener = Screener(weights, runtime="torch", device="cpu")
    data, affine, _ = phantom("LAS", (3.0, 3.0, 4.0))
    empty = np.zeros_like(data)
    empty[0, 0, 0] = 1
    mask = save(tmp_path / "mask.nii.gz", (data > 0).astype(np.uint8), affine)
    paths = [save(tmp_path / f"sub-{n}_T2w.nii.gz", d, affine) for n, d in enumerate((data, empty))]
    want = screener.screen_batch([load_scan(path, mask) for path in paths])
    assert screener.chain is None
    screener.chain = chain_of(screener, weights)
    got = screener.screen_batch([load_scan(path, mask) for path in paths])
    assert str(got[1]) == str(want[1])
    compare(runner_like(got[0]), want[0])
    assert got[0].parameters == want[0].parameters
    assert got[0].flags == want[0].flags
    assert {"plan", "device", "quality"} <= set(got[0].timings)
    with pytest.raises(InputError, match="no signal"):
        screener.screen(paths[1], mask)


def runner_like(result):
    """A result as :func:`compare` takes what the chain found."""
    volumes = {
        name: getattr(result, name).data for name in ("anomaly", "pseudo_healthy", "tissue", "bias")
    }
    parameters = {key: result.parameters[key] for key in ("contrast", "sign")}
    facts = {"score": result.score, "regions": result.regions, "affine": result.tissue.affine}
    above = result.anomaly_mask.data
    return type("Found", (), {**volumes, **parameters, **facts, "above": above})


@pytest.mark.parametrize(
    ("runtime", "device", "score", "there"),
    [
        ("torch", "cuda:0", "auto", True),
        ("torch", "cuda", "enhanced_positive", True),
        ("torch", "cpu", "auto", False),
        ("tensorrt", "cuda", "auto", False),
        ("torch", "cuda", "hybrid", False),
    ],
)
def test_when_the_chain_is_used(tmp_path, monkeypatch, runtime, device, score, there):
    made = []
    monkeypatch.setattr(runner, "DeviceChain", lambda *arguments: made.append(arguments) or "chain")
    model = DAL(DALConfig(tissue_widths=(4, 8)))
    engine = type("Engine", (), {"name": runtime, "device": device})
    chain = runner.make_chain(model, None, engine, score, None, None)
    assert (chain == "chain") == there == bool(made)
    if made:
        options = made[0][-1]
        assert options == Options("enhanced" if score == "auto" else score, 0, 1.0)
