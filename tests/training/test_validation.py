"""Validation: shared by the processes of a training, with the numbers of one."""

from dataclasses import replace
from types import SimpleNamespace

import autoencoders
import pytest
import torch
from brains import structures, t1w

from dal_fast.models import DAL, DALConfig, DALOutput
from dal_fast.synthesis.brains import Brain
from dal_fast.synthesis.sample import Sample
from dal_fast.training import validation
from dal_fast.training.validation import COLUMNS, validate


class Process:
    """One of several; the sum over all is taken when the last has its own part."""

    def __init__(self, rank, world, parts):
        self.global_rank, self.world_size, self.parts = rank, world, parts

    def broadcast(self, value):
        return value

    def all_reduce(self, table, reduce_op):
        assert reduce_op == "sum"
        self.parts.append(table)
        return torch.stack(self.parts).sum(dim=0)


def _brains(count):
    maps = structures((20, 24, 20))
    return [Brain(f"sub-{i}", maps, {"T1w": (0.6 * t1w(maps)).half()}) for i in range(count)]


def _dal():
    torch.manual_seed(0)
    return DAL(DALConfig(tissue_widths=(4, 8)), ["tissue"])


@pytest.mark.parametrize("make", [_dal, lambda: autoencoders.model(shape=(20, 24, 20))])
def test_processes_share_the_brains_and_have_the_metrics_of_one(make, monkeypatch):
    model, brains = make(), _brains(3)
    whole = validate(model, brains, seed=1)
    assert tuple(whole.metrics) == COLUMNS[model.config.kind]
    measured = []
    for name in ("_tissue_metrics", "_residual_metrics"):
        measure = getattr(validation, name)

        def count(model, brain, seed, measure=measure):
            measured.append(brain.name)
            return measure(model, brain, seed)

        monkeypatch.setattr(validation, name, count)
    parts = []
    second = validate(model, brains, 1, Process(1, 2, parts))
    assert measured == ["sub-1"]
    first = validate(model, brains, 1, Process(0, 2, parts))
    assert measured == ["sub-1", "sub-0", "sub-2"]
    assert first.metrics == pytest.approx(whole.metrics, abs=1e-9)
    assert (first.picture == whole.picture).all()
    assert second.picture.size == 0


def test_precision_is_high_around_the_lesion_and_no_number_without_one():
    mask = structures((20, 24, 20)) > 0
    lesion = torch.zeros_like(mask)
    lesion[..., 6:12, 8:15, 6:12] = True
    sample = Sample(mask.float(), mask[:, 0].long(), mask, lesion & mask)
    near = torch.nn.functional.avg_pool3d(lesion.float(), 5, 1, 2)
    right = SimpleNamespace(field_of_view=mask, prediction=None, score_map=lambda _: near)
    wrong = SimpleNamespace(field_of_view=mask, prediction=None, score_map=lambda _: 1 - near)
    assert validation._precision(right, sample) > 0.9
    chance = float(lesion[mask].float().mean())
    assert validation._precision(wrong, sample) < 1.2 * chance
    told = DALOutput(near, near, near, near > 0, near, near, evidence=near)
    flat = SimpleNamespace(field_of_view=mask, prediction=told, score_map=lambda _: mask.float())
    assert validation._precision(flat, sample) > 0.9  # by the head on residual evidence
    empty = replace(sample, lesion=torch.zeros_like(mask))
    assert validation._precision(right, empty) != validation._precision(right, empty)


def test_more_processes_than_brains():
    model, parts = _dal(), []
    assert validate(model, _brains(1), 0, Process(2, 3, parts)).metrics["agreement"] == 0
    whole = validate(model, _brains(1), 0)
    assert validate(model, _brains(1), 0, Process(0, 3, parts)).metrics == whole.metrics


def test_a_brain_without_a_lesion_has_no_precision():
    assert validation._mean([0.5, float("nan"), 0.7]) == pytest.approx(0.6)
    assert validation._mean([float("nan")]) != validation._mean([float("nan")])
