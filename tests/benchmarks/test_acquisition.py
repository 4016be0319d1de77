"""The benchmark of acquisition compares scans that differ in nothing else."""

from dataclasses import replace

import pytest
import torch
from brains import write_dataset
from tiny import tiny_weights

from benchmarks import acquisition
from dal_fast.evaluation.agreement import SHOWN
from dal_fast.synthesis.brains import bids_sources, is_held_out, load_brains
from dal_fast.synthesis.synthesiser import Synthesiser


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set of a held-out subject."""
    name = next(name for name in (f"sub-{i:03d}" for i in range(100)) if is_held_out(name))
    return write_dataset(tmp_path_factory.mktemp("acquired") / "data", [name])


def test_conditions_share_anatomy_and_lesion(data):
    (brain,) = load_brains(bids_sources(data, held_out=True))
    plain = acquisition.Acquired(lesions=1.0, volume=(1.0, 2.0)).only("FLAIR")
    samples = {}
    for name, condition in acquisition.CONDITIONS.items():
        synthesiser = Synthesiser(
            torch.Generator().manual_seed(3), replace(plain, condition=condition)
        )
        samples[name] = synthesiser.remap(brain.scans["T1w"].float(), brain.structures)
    first = samples[acquisition.AS_IS]
    assert first.lesion.any()
    for name, sample in samples.items():
        assert torch.equal(sample.tissue, first.tissue)
        assert torch.equal(sample.mask, first.mask)
        assert torch.equal(sample.lesion, first.lesion)
        assert torch.equal(sample.image, first.image) == (name == acquisition.AS_IS)


def test_the_table_has_every_condition(data, tmp_path, monkeypatch, capsys):
    names = (acquisition.AS_IS, "slices superior")
    monkeypatch.setattr(acquisition, "CONDITIONS", {n: acquisition.CONDITIONS[n] for n in names})
    monkeypatch.setattr(acquisition, "LESION_ML", (0.5, 1.0))
    words = ["--data", str(data), "--weights", str(tiny_weights(tmp_path)), "--brains", "1"]
    assert acquisition.main(words) == 0
    shown = capsys.readouterr().out
    for contrast in SHOWN:
        for name in names:
            assert f"{contrast} {name}" in shown
