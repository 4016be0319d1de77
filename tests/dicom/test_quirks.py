"""Every quirk of the lab ends as its row says: the same, flagged, or refused with its code."""

from pathlib import Path

import pytest

pytest.importorskip("pydicom", reason="needs dal_fast[dicom]")

from dicom_lab import htj2k, quirks
from dicom_lab.compare import agrees

from dal_fast.dicom.files import find_files
from dal_fast.dicom.pixels import read_stack, same_pixels
from dal_fast.dicom.series import find_series
from dal_fast.errors import InputError


def read(folder):
    """Volumes and refusals of a folder."""
    volumes, refusals = [], []
    try:
        found = find_files(folder)
        for series in find_series(found, same_pixels):
            for part in series.parts:
                try:
                    if part.refusal is not None:
                        raise part.refusal
                    volumes.append(read_stack(part.stack, Path("scan")))
                except InputError as error:
                    refusals.append(error)
    except InputError as error:
        refusals.append(error)
    return volumes, refusals


@pytest.mark.parametrize(
    ("quirk", "kind"), quirks.CASES, ids=[f"{q.name}, {k}" for q, k in quirks.CASES]
)
def test_a_quirk(quirk, kind, tmp_path):
    data, affine = quirks.make(quirk, kind, tmp_path / "study")
    volumes, refusals = read(tmp_path / "study")
    codes = [str(error.code) for error in refusals]
    if quirk.expected != "same" and not quirk.expected.startswith("flag"):
        assert codes == [quirk.expected]
        assert not volumes
        assert "\n" not in refusals[0].message
        return
    assert codes == list(quirk.refused)
    assert len(volumes) == quirk.volumes
    flag = quirk.expected.removeprefix("same").removeprefix("flag ")
    for volume in volumes:
        assert [note.code for note in volume.notes] == ([flag] if flag else [])
    if not quirk.moved:
        assert sum(agrees(v, data, affine, quirk.tolerance) for v in volumes) == 1


def test_there_are_enough_quirks():
    assert len(quirks.QUIRKS) > 110
    assert {kind for _, kind in quirks.CASES} == {"classic", "enhanced"}


def test_the_stream_of_htj2k_holds_its_slice():
    codecs = pytest.importorskip("imagecodecs", reason="needs imagecodecs, which holds OpenJPH")
    for stream in (htj2k.FILE.read_bytes(), htj2k.encode()):
        assert (codecs.htj2k_decode(stream) == htj2k.plane()).all()
