"""When the chain is recorded and when it is launched; recording itself needs a GPU."""

import gc
import weakref
from typing import NamedTuple

import pytest
import torch
from tiny import tiny_weights

from dal_fast.models import load_screening_model
from dal_fast.screening.calibration import Calibration
from dal_fast.screening.device import graph, runner
from dal_fast.screening.device.chain import Options


class Batch(NamedTuple):
    scan: torch.Tensor


class Graph:
    def __init__(self, events, bucket):
        self.events, self.bucket = events, bucket

    def replay(self):
        self.events.append(f"replay {self.bucket}")


class Graphs(graph.Graphs):
    """Says what it does; ``room`` is for so many graphs."""

    def __init__(self, room=99):
        super().__init__()
        self.events, self.room = [], room

    def launch(self, bucket, inputs):
        self.events.append(f"launch {bucket}")
        if len(self._recorded) > self.room:
            raise torch.OutOfMemoryError
        return inputs.scan.clone()

    def _record(self, chain, bucket, inputs):
        outputs = chain(bucket, inputs)
        self.events.append(f"record {bucket}")
        return graph._Recorded(Graph(self.events, bucket), inputs, outputs)


def go(graphs, buckets, scans=2):
    del graphs.events[:]
    for bucket in buckets:
        graphs.run(graphs.launch, bucket, Batch(torch.zeros(scans, 3)))
    return graphs.events


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


def test_a_bucket_is_recorded_when_it_comes_again():
    graphs = Graphs()
    assert go(graphs, "ab") == ["launch a", "launch b"]
    assert go(graphs, "aa") == ["launch a", "record a", "replay a", "replay a"]
    assert go(graphs, "a", scans=1) == ["launch a"]  # another number of scans is another graph
    assert go(graphs, "a") == ["replay a"]


def test_a_replay_takes_the_scans_that_are_given():
    graphs = Graphs()
    go(graphs, "aa")
    given = Batch(torch.full((2, 3), 7.0))
    graphs.run(graphs.launch, "a", given)
    assert torch.equal(graphs._recorded["a", 2].inputs.scan, given.scan)


def test_the_one_that_was_not_used_for_longest_is_dropped(monkeypatch):
    monkeypatch.setattr(graph, "MOST", 2)
    graphs = Graphs()
    go(graphs, "aabb")
    go(graphs, "acc")
    assert [bucket for bucket, _ in graphs._recorded] == ["a", "c"]
    assert go(graphs, "b") == ["launch b", "record b", "replay b"]


def test_graphs_give_way_where_memory_does_not_suffice():
    graphs = Graphs(room=1)
    go(graphs, "aabb")
    assert go(graphs, "c") == ["launch c", "launch c"]
    assert not graphs._recorded
    assert go(graphs, "a") == ["launch a", "record a", "replay a"]
    graphs = Graphs(room=-1)
    with pytest.raises(torch.OutOfMemoryError):
        go(graphs, "a")


def test_a_chain_is_gone_when_nobody_holds_it(tmp_path, monkeypatch):
    """On a GPU it holds gigabytes; the garbage collector would come late."""
    model = load_screening_model(tiny_weights(tmp_path))
    chain = runner.DeviceChain(model, Calibration(), "cpu", Options("enhanced", 0, 1.0))
    chain._graphs = Graphs()
    monkeypatch.setattr(runner.chain, "run", lambda *given: given[-1].scan.clone())
    for _ in range(3):
        chain.launch("a", Batch(torch.zeros(2, 3)))
    assert chain._graphs.events == ["record a", "replay a", "replay a"]
    gone = weakref.ref(chain)
    gc.disable()
    try:
        del chain, model
        assert gone() is None
    finally:
        gc.enable()
