"""A pool without processes, for runs of which the tables are what matters."""

from contextlib import contextmanager

import pytest

from dal_fast.batch import worker
from dal_fast.cli.pool import PoolOptions


class Here:
    """Screens jobs one after the other in this process, as a worker does in one of its own."""

    def __init__(self, options, settings):
        self._stages = worker._stages(options.task, settings, options.overwrite)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def effort(self):
        return "in one process"

    def screen(self, jobs):
        for job in jobs:
            scan = self._stages.read(job)
            yield self._stages.write(job, self._stages.compute(job, scan))


@contextmanager
def without_workers():
    """Commands start no workers, each of which would import torch."""

    def make_pool(options, settings, jobs):
        return Here(options, settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PoolOptions, "make_pool", make_pool)
        yield
