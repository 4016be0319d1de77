"""The short words of written objects: letters of directions, codes of flags."""

import re
from pathlib import Path

import numpy as np
import pytest

import dal_fast

pytest.importorskip("highdicom")

from dal_fast.dicom.pictures import _letters


@pytest.mark.parametrize(
    ("direction", "letters"),
    [((1, 0, 0), "L"), ((-0.95, 0.05, 0.3), "RH"), ((0.1, -0.7, -0.6), "AF"), ((0, 0, 1), "H")],
)
def test_letters_of_a_direction(direction, letters):
    assert _letters(np.array(direction, float)) == letters


def test_codes_of_flags_stay_different_in_sixteen_characters():
    package = Path(dal_fast.__file__).parent
    source = "".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    flags = set(re.findall(r"(?:Flag|Note)\(\s*\"([a-z-]+)\"", source))
    assert len(flags) > 20
    assert len({flag[:16] for flag in flags}) == len(flags)
