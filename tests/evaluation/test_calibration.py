"""Thresholds of a model, and the agreement of its tissue maps."""

import pytest
import torch
from brains import write_dataset
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from dal_fast.cli import app
from dal_fast.evaluation import agreement, calibration
from dal_fast.evaluation.thresholds import quantile
from dal_fast.models import load_weights, read_card
from dal_fast.screening.scoring import ENHANCED, SCORES
from dal_fast.screening.settings import CONTRASTS
from dal_fast.screening.usual_residual import unpack
from dal_fast.synthesis.brains import bids_sources, is_held_out, load_brains


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A data set of two held-out subjects and two of training."""
    names = sorted((f"sub-{i:03d}" for i in range(100)), key=is_held_out)
    return write_dataset(tmp_path_factory.mktemp("both") / "data", [*names[:2], *names[-2:]])


@pytest.fixture(scope="module")
def calibrated(brains, weights):
    """The model, its two brains, and its calibration by them."""
    held_out, model = load_brains(bids_sources(brains, held_out=True)), load_weights(weights)
    return model, held_out, calibration.calibrate(model, held_out, 0)


def test_contrasts_that_are_compared_share_their_anatomy(brains, weights):
    (brain,) = load_brains(bids_sources(brains, held_out=True)[:1])
    model = load_weights(weights)
    names, samples = agreement.paired_contrasts(model, brain, 0)
    assert names == ["T1w", "T2w", "FLAIR"]
    assert all(torch.equal(sample.tissue, samples[0].tissue) for sample in samples)
    assert not torch.allclose(samples[0].image, samples[1].image, atol=0.1)
    with torch.inference_mode():
        maps = {
            name: model.tissue_logits(sample.image, sample.mask).argmax(1)[sample.mask[:, 0]]
            for name, sample in zip(names, samples, strict=True)
        }
    found = agreement.agreement(model, brain, 0)
    assert list(found) == [("T1w", "T2w"), ("T1w", "FLAIR"), ("T2w", "FLAIR")]
    for (a, b), dice in found.items():
        want = f1_score(maps[a], maps[b], labels=[0, 1, 2], average=None, zero_division=0)
        assert dice.tolist() == pytest.approx(want.tolist())


def test_calibration_is_of_healthy_brains_and_repeatable(calibrated):
    model, held_out, found = calibrated
    assert set(found.thresholds) == set(found.peaks) == set(CONTRASTS)
    for contrast, by_score in found.thresholds.items():
        assert set(by_score) == {*SCORES, "structure"} - {"auto"}
        assert all(value > 0 for value in by_score.values())
        assert set(found.peaks[contrast]) == set(ENHANCED[1:])
    assert found == calibration.calibrate(model, held_out, 0)
    assert found != calibration.calibrate(model, held_out, 1)
    assert found.usual == {}


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_healthy_scans_are_made_as_validation_makes_them(brains, weights, monkeypatch, contrast):
    """Levels of scans that are made otherwise are exceeded by more of those, or by less."""
    methods = []

    def seen(*words):
        methods.append(words[-1])
        return agreement.shown_as(*words)

    monkeypatch.setattr(calibration, "shown_as", seen)
    held_out = load_brains(bids_sources(brains, held_out=True))
    scans = calibration._scans(load_weights(weights), held_out, contrast, 0)
    assert methods == ["remap"] * len(scans) == ["remap"] * 2 * len(held_out)


def test_how_large_residuals_usually_are_is_taken_from_other_brains(both, weights):
    held_out = load_brains(bids_sources(both, held_out=True))
    others = load_brains(bids_sources(both, held_out=False))
    model = load_weights(weights)
    found = calibration.calibrate(model, held_out, 0, others)
    assert found.usual == calibration.usual_residuals(model, others, 0)
    assert set(found.usual) == set(CONTRASTS)
    plain = calibration.calibrate(model, held_out, 0)
    for contrast, by_name in found.usual.items():
        assert set(by_name) == {*ENHANCED[1:], *(["structure"] if contrast == "T1w" else [])}
        for text in by_name.values():
            assert 0 < float(unpack(text).mean()) < 4
        levels, before = found.thresholds[contrast], plain.thresholds[contrast]
        assert levels["structure"] == before["structure"]
        assert levels["enhanced_positive"] != before["enhanced_positive"]


def test_a_weight_file_is_calibrated_by_the_command(brains, both, weights, tmp_path):
    out = tmp_path / "own.safetensors"
    words = ["calibrate", str(weights), str(out), "--data", str(both), "--at-most", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "1 held-out healthy brains" in done.output
    card = read_card(out)
    assert card["calibrated_on"] == 1
    assert set(card["healthy"]["thresholds"]) == set(card["healthy"]["usual"]) == set(CONTRASTS)
    assert {k: v for k, v in card.items() if k in read_card(weights)} == read_card(weights)
    for folder in (tmp_path, brains):  # no brains; none of training
        missing = CliRunner().invoke(app, [*words[:-3], str(folder)])
        assert missing.exit_code == 2
        assert missing.stderr.startswith("error [no-data]: ")


def test_one_healthy_voxel_in_a_thousand_is_above_the_threshold(calibrated):
    """Of the scans that the calibration is from, in all of them together."""
    model, held_out, found = calibrated
    for contrast in CONTRASTS:
        scans = calibration._scans(model, held_out, contrast, 0)
        maps = [(scan, scan.anomaly_map(found, contrast=contrast)) for scan in scans]
        values = torch.cat([m.data[scan.field_of_view] for scan, m in maps])
        share = float((values >= maps[0][1].threshold).float().mean())
        assert share == pytest.approx(0.001, abs=2e-4)


@pytest.mark.parametrize(("share", "above"), [(0.001, 10), (0.01, 100), (0.5, 5000)])
def test_a_share_of_the_voxels_exceeds_the_quantile(share, above):
    inside = torch.arange(10_000.0)[torch.randperm(10_000, generator=torch.Generator())]
    assert (inside > quantile(inside, share)).sum() == above


def _made_up_brains(count, seed):
    """Maps whose height differs from brain to brain, as those of real ones do."""
    g = torch.Generator().manual_seed(seed)
    heights = (0.2 * torch.randn(count, generator=g)).exp()
    return [-height * torch.rand(20_000, generator=g).clamp_min(1e-9).log() for height in heights]


def test_the_level_holds_for_brains_that_it_does_not_know():
    """A quantile of the known ones does not: more of others' voxels exceed it."""
    draws, plain, ours = 20, 0.0, 0.0
    others = torch.cat(_made_up_brains(300, 1000))
    for seed in range(draws):
        brains = _made_up_brains(12, seed)
        together, rate = torch.cat(brains), calibration.rate_here(brains)
        plain += float((others > quantile(together, 0.001)).float().mean()) / draws
        ours += float((others > quantile(together, rate)).float().mean()) / draws
    assert plain > 0.00125
    assert 0.0009 < ours < 0.0011


def test_brains_that_are_few_or_alike_say_nothing_about_others():
    assert calibration.rate_here(_made_up_brains(7, 0)) == calibration.HEALTHY_RATE
    alike = [torch.arange(10_000.0)] * 8
    assert calibration.rate_here(alike) == calibration.HEALTHY_RATE
