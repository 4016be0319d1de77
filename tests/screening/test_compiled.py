"""The compiled chain screens as torch does, starts without torch, and leaves the rest to torch."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dal_fast import Screener, embedding
from dal_fast.batch.outputs import output_names, strip_names
from dal_fast.batch.resident import make_extractor, make_screener
from dal_fast.context import _C
from dal_fast.demo import demo_head
from dal_fast.errors import Code, InputError, RuntimeUnavailable
from dal_fast.imaging.mask import BrainMask
from dal_fast.imaging.nifti import Volume
from dal_fast.imaging.noisy_background import quiet_background
from dal_fast.report.page import scan_pictures
from dal_fast.screening import chain as chains
from dal_fast.screening.brain_extraction import BrainExtractor
from dal_fast.screening.chain import Opening, open_chain, why_not
from dal_fast.screening.compiled import CompiledChain, CompiledExtractor, CompiledScreener
from dal_fast.screening.scan import load_scan_or_head, scan_of
from dal_fast.screening.settings import Settings

pytest.importorskip("openvino")
pytest.importorskip("nilearn")

HEAVY = ("torch", "scipy", "matplotlib", "openvino", "pydicom", "rich", "safetensors")
"""Not pydantic: typer itself imports it in some versions."""


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """The demo's head, and its brain alone, at 2 mm."""
    folder = tmp_path_factory.mktemp("scans")
    data, inside, affine = (demo_head()[i] for i in range(3))
    data, inside = data[::2, ::2, ::2], inside[::2, ::2, ::2]
    affine = affine @ np.diag([2, 2, 2, 1])
    paths = {"head": folder / "sub-head_T1w.nii.gz", "brain": folder / "sub-brain.nii.gz"}
    nib.save(nib.Nifti1Image(data, affine), paths["head"])
    nib.save(nib.Nifti1Image(np.where(inside, data, 0), affine), paths["brain"])
    return paths


@pytest.fixture(scope="module")
def opened():
    return open_chain()


@pytest.fixture
def chain(opened):
    return CompiledChain(opened)


@pytest.fixture(scope="module")
def screener():
    return Screener(runtime="openvino")


@pytest.fixture(scope="module")
def extractor():
    return BrainExtractor(runtime="openvino")


def volume_of(data):
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    return Volume(np.asfortranarray(data, np.float32), affine, None, Path("x.nii"), "", 0)


def check_alike(ours, theirs):
    """Two results of one scan."""
    threshold = theirs.parameters["threshold"]
    for name in ("brain_mask", "anomaly_mask"):
        np.testing.assert_array_equal(getattr(ours, name).data, getattr(theirs, name).data)
    assert np.abs(ours.anomaly.data - theirs.anomaly.data).max() < 1e-3 * threshold
    assert ours.score == pytest.approx(theirs.score, rel=1e-4)
    scale = theirs.scan.data.max()
    assert np.abs(ours.pseudo_healthy.data - theirs.pseudo_healthy.data).max() < 1e-3 * scale
    np.testing.assert_array_equal(ours.tissue.affine, theirs.tissue.affine)
    for name in ("tissue", "edges"):
        same = getattr(ours, name).data == getattr(theirs, name).data
        assert same.mean() > 0.9999
        assert getattr(ours, name).data.dtype == getattr(theirs, name).data.dtype
    np.testing.assert_allclose(ours.bias.data, theirs.bias.data, atol=1e-3)
    assert len(ours.regions) == len(theirs.regions)
    for a, b in zip(ours.regions, theirs.regions, strict=True):
        assert a.volume_ml == pytest.approx(b.volume_ml)
        assert a.peak == pytest.approx(b.peak, rel=1e-3)
        assert a.centre == pytest.approx(b.centre)
    assert ours.parameters == theirs.parameters | {"chain": "compiled"}
    assert theirs.parameters["chain"] == "torch"
    assert ours.requested == theirs.requested
    assert ours.source == theirs.source
    assert [flag.code for flag in ours.flags] == [flag.code for flag in theirs.flags]
    assert ours.brain["Source"] == theirs.brain["Source"]
    measures = ({k: v for k, v in r.brain.items() if k != "Source"} for r in (ours, theirs))
    assert next(measures) == pytest.approx(next(measures), rel=1e-3)


@pytest.mark.parametrize("kind", ["head", "brain"])
def test_results_are_those_of_torch(scans, opened, screener, kind):
    scan = load_scan_or_head(scans[kind])
    ours = CompiledScreener(Settings(), opened).screen_scan(scan)
    theirs = screener.screen_scan(scan)
    check_alike(ours, theirs)
    (ours_page, _), (their_page, _) = (scan_pictures(result) for result in (ours, theirs))
    assert len(ours_page) == pytest.approx(len(their_page), rel=0.05)


def test_options_are_heeded(scans, opened):
    settings = Settings(threshold=2.5, contrast="FLAIR")
    scan = load_scan_or_head(scans["brain"])
    theirs = Screener(runtime="openvino", threshold=2.5, contrast="FLAIR").screen_scan(scan)
    check_alike(CompiledScreener(settings, opened).screen_scan(scan), theirs)
    assert theirs.parameters["contrast_from"] == "option"


def test_a_mask_is_that_of_torch(scans, chain, extractor):
    volume = load_scan_or_head(scans["head"], brain="strip").volume
    ours, theirs = chain.extract(volume), extractor.extract(volume)
    np.testing.assert_array_equal(ours.data, theirs.data)
    assert ours.source == theirs.source == "dal_fast"
    assert vars(ours.quality) == pytest.approx(vars(theirs.quality), rel=1e-3)
    assert ours.notes == theirs.notes


def scans_without_a_brain():
    points = np.stack(np.meshgrid(*[np.arange(-48.0, 48)] * 3, indexing="ij"))
    radius = 2 * np.sqrt((points**2).sum(0))
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 10, radius.shape)
    yield "a ball of water", np.where(radius < 75, 500, 0) + noise
    yield "a small ball", np.where(radius < 20, 500, 0) + noise
    yield "noise", noise


@pytest.mark.parametrize("name", [name for name, _ in scans_without_a_brain()])
def test_a_scan_without_a_brain_is_refused_in_the_same_words(chain, extractor, name):
    volume = volume_of(dict(scans_without_a_brain())[name])
    with pytest.raises(InputError) as theirs:
        extractor.extract(volume)
    with pytest.raises(InputError) as ours:
        chain.extract(volume)
    assert (ours.value.code, ours.value.message) == (theirs.value.code, theirs.value.message)
    quiet, _ = quiet_background(volume)  # Python does so first, the library does not
    with pytest.raises(_C.ChainError) as library:  # whose advice is another
        chain._chain.run(
            scan=quiet.data, affine=volume.affine.ravel().tolist(), mask=None, contrast=0,
            threshold=0.0, brain_only=True,
        )  # fmt: skip
    reason = theirs.value.message.split(": ", 1)[1].split(". If it shows", 1)[0]
    assert f"no brain was found: {reason}. If it shows" in library.value.args[2]


def test_a_brain_without_signal_is_refused_in_the_same_words(opened, screener):
    volume = volume_of(np.zeros((64, 64, 64)))
    volume.data[:8] = 7  # not constant
    inside = np.zeros(volume.data.shape, bool, order="F")
    inside[16:48, 16:48, 16:48] = True
    scan = scan_of(volume, BrainMask(inside, "file"), "x", {})
    with pytest.raises(InputError) as theirs:
        screener.screen_scan(scan)
    with pytest.raises(InputError) as ours:
        CompiledScreener(Settings(), opened).screen_scan(scan)
    assert (ours.value.code, ours.value.message) == (theirs.value.code, theirs.value.message)


def test_a_mask_that_fills_a_large_field_of_view_is_screened(chain):
    rng = np.random.default_rng(0)
    volume = volume_of(rng.uniform(10, 20, (150, 40, 40)))  # 300 mm long: no brain's length
    mask = BrainMask(np.ones(volume.data.shape, bool, order="F"), "file")
    _, found = chain.run(volume, mask)
    assert np.isfinite(found["score"])
    assert found["anomaly"].shape == volume.data.shape


def test_any_layout_of_scan_and_mask(scans, chain):
    scan = load_scan_or_head(scans["brain"])
    _, wanted = chain.run(scan.volume, scan.mask)
    turned = replace(scan.volume, data=np.ascontiguousarray(scan.volume.data))
    mask = BrainMask(np.ascontiguousarray(scan.mask.data), "file")
    _, found = chain.run(turned, mask)
    assert found["score"] == wanted["score"]
    np.testing.assert_array_equal(found["anomaly"], wanted["anomaly"])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (Settings(weights="mine.safetensors"), "weights"),
        (Settings(runtime="torch"), "runtime"),
        (Settings(device="cuda"), "device"),
        (Settings(score="hybrid"), "score"),
        (Settings(median=3), "median"),
        (Settings(threshold=-1.0), "threshold"),
        (Settings(contrast="PD"), "contrast"),
        (Settings(brain="hd-bet"), "HD-BET"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_it_does_not_serve_is_left_to_torch(settings, reason):
    assert reason in why_not(settings)


def test_it_serves_the_usual_settings():
    for settings in (
        Settings(),
        Settings(device="cpu", runtime="openvino", threshold=0.5, contrast="T2w"),
        Settings(brain="given", nonfinite="replace"),
        Settings(runtime="openvino-bf16"),
        Settings(brain="strip"),
    ):
        assert why_not(settings) is None
    assert isinstance(make_screener({}), CompiledScreener)
    assert isinstance(make_extractor("strip", "auto", "auto"), CompiledExtractor)


@pytest.mark.skipif(not _C.has_bf16(), reason="needs a processor that multiplies bfloat16")
def test_bfloat16_is_asked_for_by_name(scans, opened):
    scan, settings = load_scan_or_head(scans["brain"]), Settings(runtime="openvino-bf16")
    half = open_chain(settings.runtime)
    assert half.fact("engine") == f"{opened.fact('engine')}, bf16"
    ours = CompiledScreener(settings, half).screen_scan(scan)
    theirs = CompiledScreener(Settings(), opened).screen_scan(scan)
    assert ours.parameters["runtime"] == ours.requested["runtime"] == "openvino-bf16"
    assert theirs.parameters["runtime"] == "openvino"
    assert ours.score != theirs.score
    assert ours.score == pytest.approx(theirs.score, rel=0.2)


def test_a_gpu_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(chains, "_may_have_gpu", lambda: True)
    assert "GPU" in why_not(Settings())
    assert why_not(Settings(device="cpu")) is None


def test_without_openvino_torch_screens(monkeypatch):
    def missing():
        raise RuntimeUnavailable(Code.RUNTIME_UNAVAILABLE, "openvino is not installed")

    monkeypatch.setattr(embedding, "engine_folder", missing)
    assert isinstance(make_screener({"runtime": "auto"}), Screener)
    assert isinstance(make_extractor("strip", "auto", "auto"), BrainExtractor)


def test_an_openvino_without_a_c_library_leaves_it_to_torch(monkeypatch, tmp_path):
    monkeypatch.setattr(embedding, "engine_folder", lambda: tmp_path)
    with pytest.raises(RuntimeUnavailable, match=r"libopenvino_c\.so"):
        open_chain()
    assert isinstance(make_screener({}), Screener)


def test_a_chain_that_is_opened_early_fails_where_it_is_waited_for(monkeypatch, tmp_path):
    assert Opening("auto", screening=True, extraction=True).chain().fact("voxel_mm") == "2.0"
    monkeypatch.setattr(embedding, "engine_folder", lambda: tmp_path)
    opening = Opening("auto", screening=True, extraction=True)
    with pytest.raises(RuntimeUnavailable, match=r"libopenvino_c\.so"):
        opening.chain()
    assert isinstance(make_screener({}, opening), Screener)


def test_a_bundle_of_other_weights_is_not_used(monkeypatch):
    monkeypatch.setattr(chains, "weights_sha256", lambda name: "0" * 64)
    with pytest.raises(RuntimeUnavailable, match="make bundle"):
        open_chain()


def imported_by(*arguments, modules=HEAVY):
    """The status of a command, and which of these modules it has imported when it ends."""
    probe = (
        "import sys; from dal_fast.cli import app\n"
        f"try: app({[str(a) for a in arguments]!r})\n"
        f"except SystemExit as end: print(end.code, [m for m in {modules!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.stderr == ""
    return done.stdout.splitlines()[-1]


def test_one_scan_is_screened_without_torch(scans, tmp_path):
    assert imported_by("screen", scans["head"], tmp_path) == "0 []"
    sidecar = json.loads((tmp_path / output_names(scans["head"])["sidecar"]).read_text())
    assert sidecar["Parameters"]["chain"] == "compiled"
    assert {path.name for path in tmp_path.iterdir()} == set(output_names(scans["head"]).values())
    assert imported_by("screen", scans["head"], tmp_path) == "0 []"  # is up to date


def test_one_scan_is_stripped_without_torch(scans, tmp_path):
    assert imported_by("strip", scans["head"], tmp_path) == "0 []"
    assert (tmp_path / strip_names(scans["head"])["mask"]).is_file()


def test_a_study_is_screened_without_torch(tmp_path):
    pytest.importorskip("highdicom")
    from dicom_lab import scanner

    data, voxel = scanner.stripped_brain()
    images = scanner.classic(data, scanner.turned((5.0, -4.0, 3.0), voxel, data.shape))
    study = scanner.write(images, tmp_path / "study")
    heavy = ("torch", "scipy", "matplotlib", "openvino", "requests")
    assert imported_by("dicom", study, tmp_path / "out", modules=heavy) == "0 []"
