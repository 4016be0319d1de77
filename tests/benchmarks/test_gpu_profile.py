"""What a profiler is shown, on tensors that claim to be on a GPU: every call is one that runs."""

from dataclasses import fields

import torch
from fake_gpu import empty, fake_gpu, needs_fake_gpu, watched

from benchmarks import gpu_profile
from benchmarks.volumes import Volumes

pytestmark = needs_fake_gpu


def test_the_stages_of_the_chain_are_shown():
    with fake_gpu():
        shape, masks = (2, 1, 16, 24, 16), ("mask", "lesion", "blobs")
        volumes = {
            f.name: empty(shape, torch.bool if f.name in masks else torch.float32)
            for f in fields(Volumes)
        }
        stages = gpu_profile.stages(Volumes(**volumes))
        with watched() as calls:
            for call in stages.values():
                call()
    ours = {"highest_nearby", "box_mean", "signed_residual", "cluster_heights", "instance_norm"}
    assert ours | {"row_medians", "tfce3d"} <= set(calls)
    assert calls["instance_norm"] == calls["box_mean"] == 2
