"""Words that are read and written: of contrast agents, directions, flags."""

import re
from pathlib import Path

import numpy as np
import pytest

import dal_fast

pytest.importorskip("highdicom")

from dal_fast.dicom.pictures import _letters
from dal_fast.dicom.words import folded, names_agent

GIVEN = (
    "T1 MPRAGE +C PRE-OP", "pre op T1 Gd navi", "AX T1 POST W/O FS", "T1_GD_NO_FATSAT",
    "T1 SE GD NON FAT SAT", "t1_mpr_mKM", "T1 nKM", "T1 pKM", "t1 mpr sag post-op KM",
)  # fmt: skip
NOT_GIVEN = (
    "T1 oKM", "T1 W/O CONTRAST", "T1 PRE GD", "T1 ohne KM", "T1 NON CONTRAST", "T1 POST OP",
    "t1_post_op", "T1 without fs", "T1 PRE-OP",
)  # fmt: skip


@pytest.mark.parametrize("name", [*GIVEN, *NOT_GIVEN])
def test_whether_a_name_says_that_an_agent_was_given(name):
    assert names_agent(folded(name)) == (name in GIVEN)


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
