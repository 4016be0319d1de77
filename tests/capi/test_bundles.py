"""Damaged bundles are refused, wherever the damage is."""

import random

import pytest
from capi import native


@pytest.fixture(scope="module")
def content(bundle):
    return bundle.read_bytes()


@pytest.mark.parametrize("count", [80, pytest.param(250, marks=pytest.mark.long)])
def test_cut_bundles(lib, content, engine_path, count):
    """Random places, half of them in the header."""
    header = int.from_bytes(content[:8], "little")
    draw = random.Random(1)
    places = [draw.randrange(header) for _ in range(count)]
    places += [draw.randrange(len(content)) for _ in range(count)]
    for place in places:
        status, code = native.opened(lib, content[:place], engine_path)
        assert (status, code) == (native.BUNDLE, "weights-corrupt"), place


@pytest.mark.parametrize("count", [40, pytest.param(150, marks=pytest.mark.long)])
def test_flipped_bits(lib, content, engine_path, count):
    """Most of them in the header; ``make sanitized`` has more."""
    header = int.from_bytes(content[:8], "little")
    draw = random.Random(2)
    for place in [draw.randrange(8 + header) for _ in range(count)] + [
        draw.randrange(8 + header, len(content)) for _ in range(count // 7)
    ]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << draw.randrange(8)
        status, _ = native.opened(lib, bytes(damaged), engine_path)
        # a bit of a calibration's digit or of a name that nobody asks for is not seen
        assert status == native.BUNDLE or (status == native.OK and place < 8 + header), place


def test_other_bundles(lib, content, engine_path, tmp_path):
    header = int.from_bytes(content[:8], "little")

    def changed(old, new):
        assert old in content[: 8 + header]
        assert len(old) == len(new)
        return content.replace(old, new, 1)

    for other in (
        changed(b"dal-fast-bundle-1", b"dal-fast-bundle-2"),
        changed(b'"min_abi": "1"', b'"min_abi": "2"'),
        changed(b"closed_form", b"open_formed"),
    ):
        assert native.opened(lib, other, engine_path) == (native.BUNDLE, "weights-mismatch")
    assert native.opened(lib, tmp_path, engine_path) == (native.BUNDLE, "weights-missing")
    missing = tmp_path / "none.dalb"
    assert native.opened(lib, missing, engine_path) == (native.BUNDLE, "weights-missing")
    golden = bytearray(content)
    assert native.opened(lib, bytes(golden), engine_path)[0] == native.OK
