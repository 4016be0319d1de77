"""The kernels' Triton files as modules, by path: no installation needed."""

import importlib.util
from functools import cache
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[1] / "kernels"


@cache
def triton_file(op):
    """The module ``kernels/<op>/<op>_triton.py``."""
    path = KERNELS / op / f"{op}_triton.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
