"""The checks of the method."""

import numpy as np
import pytest
import torch
from brains import write_dataset
from sklearn.metrics import mutual_info_score
from tiny import tiny_weights
from typer.testing import CliRunner

from dal_fast.cli import app
from dal_fast.evaluation import checks
from dal_fast.models import DAL, DALConfig, load_weights, save_weights
from dal_fast.synthesis.brains import bids_sources, is_held_out, load_brains


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    names = [name for name in (f"sub-{i:03d}" for i in range(100)) if is_held_out(name)][:2]
    return write_dataset(tmp_path_factory.mktemp("brains") / "data", names, space=(24, 30, 24))


@pytest.fixture(scope="module")
def brains(data):
    return load_brains(bids_sources(data, held_out=True))


@pytest.fixture(scope="module")
def published():
    """Every network, untrained, and small."""
    torch.manual_seed(0)
    config = DALConfig(
        recoupler="film", tissue_widths=(4, 8), anatomy_widths=(4, 8), anatomy_channels=4,
        decoder_width=4,
    )  # fmt: skip
    return DAL(config, ("tissue", "modality", "restorer", "decoder", "head", "evidence")).eval()


class Copying(torch.nn.Module):
    """phi is the scan, or the scan's mask: all is kept, or nothing."""

    def __init__(self, model, keep):
        super().__init__()
        self.model, self.keep = model, keep
        self.config, self.space_for = model.config, model.space_for
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, mask):
        output = self.model(x, mask)
        return output._replace(pseudo_healthy=x.clamp_max(1) if self.keep else mask.float())


def test_information_is_mutual_information():
    rng = np.random.default_rng(0)
    lesion = rng.random(20000) < 0.1
    values = (rng.normal(size=20000) + 1.5 * lesion).astype(np.float32)
    found = checks.information(torch.from_numpy(values), torch.from_numpy(lesion))
    edges = np.quantile(values, np.arange(1, checks.BINS) / checks.BINS)
    entropy = mutual_info_score(lesion, lesion)
    assert found == pytest.approx(mutual_info_score(np.digitize(values, edges), lesion) / entropy,
                                  abs=2e-3)  # fmt: skip
    constant = torch.ones(20000)
    assert checks.information(constant, torch.from_numpy(lesion)) == 0
    assert checks.information(torch.from_numpy(lesion).float(), torch.from_numpy(lesion)) == (
        pytest.approx(1, abs=1e-6)
    )


def test_what_is_kept(published, brains):
    both = {name: Copying(published, name == "all") for name in ("all", "nothing")}
    found = list(checks.leaks(both, brains[0], 0))
    assert {one.contrast for one in found} == {"T1w", "T2w", "FLAIR"}
    assert [one.path for one in found] == ["all", "nothing"] * (len(found) // 2)
    for one in found:
        keep = one.path == "all"
        assert one.kept == pytest.approx(float(keep), abs=1e-5)
        assert one.scan > 0.01
        assert one.pseudo_healthy == pytest.approx(one.scan if keep else 0, abs=1e-12)
        assert one.twin <= one.scan
    assert next(checks.leaks(both, brains[0], 0)) == found[0]


def test_every_path_that_the_networks_serve(published, tmp_path):
    assert list(checks.paths(published)) == ["film", "edges_closed_form", "closed_form"]
    tissue = load_weights(tiny_weights(tmp_path))
    assert list(checks.paths(tissue)) == ["closed_form"]


def test_vectors_and_their_shift(published, brains):
    found = [one for brain in brains for one in checks.vectors(published, brain, 0)]
    assert len(found) == 3 * len(brains)
    assert all(one.before.shape == (published.config.modality_length,) for one in found)
    before, after, share = checks.principal_axes(found)
    assert before.shape == after.shape == (len(found), 2)
    assert 0 < share <= 1
    still = [checks.Vectors(v.participant, v.contrast, v.before, v.before) for v in found]
    moved = checks.shift(still)
    assert (moved.mean, moved.largest) == (0, 0)
    one, two = torch.tensor([0.0, 0.0]), torch.tensor([4.0, 0.0])
    moved = checks.shift(
        [checks.Vectors("a", "T1w", one, one + 1), checks.Vectors("a", "T2w", two, one)]
    )
    assert moved.contrasts == 4
    assert moved.largest == 1
    assert moved.own == 0.5


@pytest.mark.parametrize("kind", ["tissue", "published"])
def test_the_command(published, data, tmp_path, kind):
    weights = tmp_path / "w.safetensors"
    if kind == "tissue":
        weights = tiny_weights(tmp_path)
    else:
        save_weights(weights, published, {}, parts=published.parts)
    words = ["checks", "--data", str(data), "--weights", str(weights), "--out", str(tmp_path / "c")]
    brains = 2 if kind == "tissue" else 1
    done = CliRunner().invoke(app, [*words, "--at-most", str(brains)])
    assert done.exit_code == 0, done.output
    assert "T1w – FLAIR" in done.output
    assert f"n={brains}" in done.output
    page = (tmp_path / "c" / "index.html").read_text()
    assert page.count("<svg") == 2
    assert ("film" in page) == (kind == "published")
