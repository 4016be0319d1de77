"""What a profiler is shown, on tensors that claim to be on a GPU: every call is one that runs. And
the table of times by kernel, rehearsed on a CPU, where operators take the kernels' place."""

from dataclasses import fields

import torch
from fake_gpu import empty, fake_gpu, needs_fake_gpu, watched

from benchmarks import gpu_profile
from benchmarks.registry import CASES
from benchmarks.volumes import Volumes


@needs_fake_gpu
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
    assert ours | {"row_medians"} <= set(calls)
    assert calls["instance_norm"] == calls["box_mean"] == 2


def test_the_times_of_a_call_are_those_of_its_parts(capsys):
    assert gpu_profile.main(["times", "--device", "cpu", "--sides", "16", "24", "16"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    rows = [(line[31:].strip(), line[31] != " ", *map(float, line[:31].split())) for line in lines]
    assert heading.endswith("launches a call  kernel")
    calls = [name for name, is_call, *_ in rows if is_call]
    assert calls == [case.name for case in CASES if case.gpu_goal is not None] + ["clusters"]
    launches = {name: number for name, is_call, _, number in rows if not is_call}
    assert launches["dal_fast::median3d"] == launches["dal_fast::tfce3d"] == 1
    whole, median = (us for name, _, us, _ in rows if name in ("median 5³", "dal_fast::median3d"))
    assert 0.5 * whole < median <= whole


def test_a_kernel_is_called_by_its_name():
    full = "void dal::cuda::(anonymous namespace)::median_kernel<unsigned int, 5>(Volumes, Tiles)"
    assert gpu_profile.short(full) == "median_kernel<unsigned int, 5>"
    assert gpu_profile.short("Memset (Device)") == "Memset"
