"""A Ray cluster to work on: the one that is there, or one of this machine alone.

A cluster of this machine alone can be reached from this machine only, and leaves nothing behind.
By default Ray would listen on the network, ask the metadata servers of three cloud providers where
it runs (also with its usage statistics turned off), and leave logs in ``/tmp/ray`` and a token in
``~/.ray``.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from dal_fast.cache import cache_home
from dal_fast.extras import isolate

_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's own switch for systems whose firewall asks the user whenever a program listens."""


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Connect to the cluster that ``RAY_ADDRESS`` names or that this machine belongs to.

    Where there is none, start one, and end it with the block. A cluster that this process is
    connected to already stays as it is.
    """
    isolate("ray")
    ray = import_module("ray")
    import_module("ray.data")
    if ray.is_initialized():
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError:
        if os.environ.get("RAY_ADDRESS"):
            raise
        with _alone():
            yield
        return
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _alone() -> Iterator[None]:
    """A cluster of this machine, with a home of its own that goes with it."""
    ray = import_module("ray")
    constants: Any = import_module("ray._private.ray_constants")
    home = Path(tempfile.mkdtemp(prefix="dal_fast-ray-"))
    # Ray asks cloud providers only where it does not find this file in its home
    (home / "ray_bootstrap_config.yaml").write_text("{}\n", encoding="utf-8")
    cache = cache_home()
    changes = {"HOME": str(home), **_LOOPBACK_ONLY}
    if cache is not None:
        changes["XDG_CACHE_HOME"] = str(cache.parent)
    before = {name: os.environ.get(name) for name in changes}
    clusters = getattr(constants, "ENABLE_RAY_CLUSTER", None)
    try:
        os.environ.update(changes)
        constants.ENABLE_RAY_CLUSTER = False  # the variable's value, which this process has read
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(home / "ray"),
        )
        yield
    finally:
        ray.shutdown()
        constants.ENABLE_RAY_CLUSTER = clusters
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(home, ignore_errors=True)
