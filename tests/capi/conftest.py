"""A library, a bundle and a small brain for the tests of the C interface."""

from pathlib import Path

import numpy as np
import pytest

from capi import native


@pytest.fixture(scope="session")
def library():
    path = native.library_path()
    if path is None:
        pytest.skip("libdal_fast is not built: cmake --build build/dev --target dal_fast")
    return path


@pytest.fixture(scope="session")
def lib(library):
    return native.load(library)


@pytest.fixture(scope="session")
def engine_path():
    return Path(pytest.importorskip("openvino").__file__).parent


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, engine_path):
    from dal_fast.screening.bundle import write_bundle

    path = tmp_path_factory.mktemp("bundle") / "default.dalb"
    write_bundle(path)
    return path


@pytest.fixture(scope="session")
def engine(lib, bundle, engine_path):
    engine = native.Engine(lib, bundle, engine_path, threads=2)
    yield engine
    engine.close()


@pytest.fixture
def session(engine):
    session = native.Session(engine, max_shape=(96, 96, 96))
    yield session
    session.close()


def small_brain(lesion=True):
    """Scan, mask and affine: an ellipsoid of three shells at 2.5 mm, with a bright spot."""
    rng = np.random.default_rng(5)
    sides = (60, 70, 56)
    grid = np.meshgrid(*(np.linspace(-1.2, 1.2, side) for side in sides), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in grid))
    levels = np.select([radius < 0.6, radius < 0.85, radius < 1], [120.0, 90.0, 40.0], 0.0)
    scan = levels * (1 + 0.1 * grid[1]) + rng.normal(0, 3, sides) * (radius < 1)
    if lesion:
        spot = np.sqrt((grid[0] - 0.3) ** 2 + grid[1] ** 2 + (grid[2] - 0.2) ** 2)
        scan[spot < 0.15] *= 1.8
    affine = np.diag([2.5, 2.5, 2.5, 1.0])
    affine[:3, 3] = -70, -85, -60
    mask = np.asfortranarray(radius < 1).astype(np.uint8)
    return np.asfortranarray(np.round(np.clip(scan, 0, None)), dtype=np.float32), mask, affine


@pytest.fixture(scope="session")
def brain():
    return small_brain()
