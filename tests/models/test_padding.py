"""The volume that a model sees of a brain: the same rule for every model."""

import pytest
import torch
from torch.nn.functional import pad

from dal_fast import DalFastError
from dal_fast.models.model import brain_pads


def mask_of(*brains, space=(20, 24, 18)):
    mask = torch.zeros((len(brains), 1, *space), dtype=torch.bool)
    for n, brain in enumerate(brains):
        mask[(n, 0, *(slice(a, b) for a, b in brain))] = True
    return mask


@pytest.mark.parametrize("wanted", [(12, 13, 14), (32, 31, 30), (4, 5, 6)])
def test_the_brain_is_in_the_middle(wanted):
    mask = mask_of(((3, 10), (5, 15), (2, 13)))
    sides = (7, 10, 11)
    given = []
    padded = pad(mask, brain_pads(mask, lambda s: given.append(tuple(s)) or wanted))
    assert given == [sides]
    assert padded.shape[2:] == wanted
    for axis, (side, want) in enumerate(zip(sides, wanted, strict=True)):
        line = padded.amax([a for a in range(5) if a != axis + 2])
        before = (want - side) // 2  # of an odd rest, one more comes after
        expected = [before <= i < before + side for i in range(want)]
        assert line.tolist() == expected


def test_the_way_back_and_one_box_for_a_batch():
    mask = mask_of(((3, 10), (5, 15), (2, 13)), ((1, 4), (6, 20), (3, 9)))
    pads = brain_pads(mask, lambda sides: [side + 3 for side in sides])
    assert pad(mask, pads).shape[2:] == (9 + 3, 15 + 3, 11 + 3)
    assert torch.equal(pad(pad(mask, pads), [-p for p in pads]), mask)


def test_an_empty_mask_is_refused():
    with pytest.raises(DalFastError) as refused:
        brain_pads(mask_of(((3, 3), (0, 1), (0, 1))), tuple)
    assert refused.value.code == "mask-empty"
