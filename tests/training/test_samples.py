"""Batches: functions of seed and step, whoever makes them."""

from random import Random

import pytest
import torch
from brains import structures, t1w

from dal_fast.synthesis.brains import Brain
from dal_fast.training.config import SampleConfig
from dal_fast.training.samples import Samples

CPU = torch.device("cpu")


def _blocks(sides):
    return tuple(8 * -(-side // 8) for side in sides)


def _brain(name, scans=("T1w",)):
    maps = structures((20, 24, 20))
    return Brain(name, maps, {c: (0.6 * t1w(maps)).half() for c in scans})


def _samples(seed=0, scans=("T1w",), maps=True, **changes):
    config = SampleConfig(**{"brains": 2, "contrasts": 2, **changes})
    only = [Brain("m", structures((20, 24, 20)))] if maps else []
    return Samples([_brain("a", scans), _brain("b", scans)], only, config, seed, _blocks)


def _equal(a, b):
    return all(torch.equal(getattr(a, f), getattr(b, f)) for f in ("image", "tissue", "mask"))


def test_a_step_is_its_number():
    a, b = _samples(), _samples()
    b.batch(0, 1.0, CPU)  # what was drawn before has no say
    assert _equal(a.batch(7, 1.0, CPU), b.batch(7, 1.0, CPU))
    assert not _equal(a.batch(7, 1.0, CPU), a.batch(8, 1.0, CPU))
    assert not _equal(a.batch(7, 1.0, CPU), _samples(1).batch(7, 1.0, CPU))


def test_processes_share_the_samples_of_one():
    whole = _samples().batch(3, 1.0, CPU)
    parts = [_samples().batch(3, 1.0, CPU, rank, 2) for rank in range(2)]
    assert torch.equal(whole.image, torch.cat([part.image for part in parts]))
    assert len(whole.image) == 4


def test_sides_hold_the_brain_and_halve():
    for step in range(4):
        sample = _samples().batch(step, 0.0, CPU)
        assert all(side % 8 == 0 for side in sample.image.shape[2:])


def test_contrasts_of_a_brain_share_its_tissue():
    sample = _samples().batch(0, 1.0, CPU)
    assert torch.equal(sample.tissue[0], sample.tissue[1])


def test_real_pairs_are_used_as_pairs():
    """As in the paper: T1w and T2w of one subject, nothing drawn."""
    shares = {"painted": 0, "remapped": 0, "recoloured": 0, "kept": 1}
    samples = _samples(scans=("T1w", "T2w"), maps=False, **shares)
    methods = {tuple(sorted(samples._methods(Random(i), samples.scans[0]))) for i in range(9)}
    assert methods == {("T1w", "T2w")}


def test_where_only_one_real_scan_is_wanted_the_other_is_drawn_from_it():
    shares = {"painted": 0, "remapped": 0, "recoloured": 0, "kept": 1}
    samples = _samples(maps=False, **shares)
    methods = samples._methods(Random(0), samples.scans[0])
    assert methods == ["T1w", "remap"]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_share_of_maps(share):
    samples = _samples()
    config = samples.config.model_copy(update={"maps": share})
    samples = Samples(samples.scans, samples.maps, config, 0, _blocks)
    chooser = Random(0)
    names = {samples._choose(chooser).name for _ in range(30)}
    assert names == ({"m"} if share else {"a", "b"})
