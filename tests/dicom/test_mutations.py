"""One attribute of the geometry changed in one slice: never another volume without a word."""

import copy
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="needs dal_fast[dicom]")

from dicom_lab import scanner
from dicom_lab.compare import agrees

from dal_fast.dicom import files
from dal_fast.dicom.files import Source, StudyFiles
from dal_fast.dicom.pixels import read_stack, same_pixels
from dal_fast.dicom.series import find_series
from dal_fast.errors import InputError

MOVED_MM = 0.1
NUMBERS = {
    "ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2,
    "SliceThickness": 1, "SpacingBetweenSlices": 1, "SliceLocation": 1,
}  # fmt: skip
WHOLE = ("Rows", "Columns", "InstanceNumber", "NumberOfFrames", "InStackPositionNumber")
TEXTS = {
    "PatientPosition": ["FFS", "HFP", "", "X"],
    "FrameOfReferenceUID": ["1.2.3", ""],
    "ImageType": [["ORIGINAL", "PRIMARY", "P"], ["DERIVED", "SECONDARY", "MPR"], ""],
    "StackID": ["2", ""],
}


@dataclass(frozen=True)
class Memory(Source):
    """A file that lies in memory."""

    content: bytes = b""

    def open(self):
        return io.BytesIO(self.content)


def load(ds, number):
    """A data set as the product would find it on the disk."""
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    found = StudyFiles()
    files._add(Memory(Path(f"IM{number}"), f"IM{number}", stream.getvalue()), found)
    return found


def mutated_numbers(values, generator):
    """Decimal strings that differ from ``values`` in one way."""
    values, place = list(values), int(generator.integers(len(values)))
    kind = generator.integers(8)
    if kind == 0:
        return values[:-1]
    if kind == 1:
        return [*values, "1"]
    if kind == 2:
        values[place] = ["nan", "inf", "", "1e9", "-1e9"][generator.integers(5)]
    elif kind == 3:
        values[place] = f"{-float(values[place]):.10g}"
    elif kind == 4 and len(values) > 1:
        values = values[1:] + values[:1]
    elif kind == 5:
        values[place] = "0"
    else:
        size = 10.0 ** generator.uniform(-5, 2.7)
        values[place] = f"{float(values[place]) + size * generator.choice((-1, 1)):.10g}"
    return values


def holder_of(ds, keyword, generator):
    """The data set of a keyword, in an Enhanced object that of a random frame's group."""
    if keyword in ds:
        return ds
    groups = [*ds.get("PerFrameFunctionalGroupsSequence", [])]
    edge = generator.integers(3) == 0 and groups
    group = groups[-1] if edge else groups[generator.integers(len(groups))] if groups else None
    for element in group or ():
        if element.VR == "SQ" and keyword in element.value[0]:
            return element.value[0]
    return None


def mutate(ds, generator):
    """One change to ``ds``: in words, and how to undo it; ``None`` where there is nothing."""
    keyword = str(generator.choice([*NUMBERS, "ImagePositionPatient", *WHOLE, *TEXTS]))
    holder = holder_of(ds, keyword, generator)
    if holder is None:
        return None
    before = copy.deepcopy(holder[keyword])

    def undo():
        holder[keyword] = before

    if generator.integers(12) == 0:
        delattr(holder, keyword)
        return f"{keyword} deleted", undo
    element = holder[keyword]
    if keyword in NUMBERS:
        old = element.value if NUMBERS[keyword] > 1 else [element.value]
        value = mutated_numbers([str(v) for v in old], generator)
    elif keyword in WHOLE:
        value = int(element.value) + int(generator.choice((-7, -1, 1, 2, 40)))
        value = max(value, 0)
    else:
        options = TEXTS[keyword]
        value = options[generator.integers(len(options))]
    setattr(holder, keyword, value)
    return f"{keyword} = {value}", undo


def outcome(found, data, affine):
    """``same``, ``flag``, ``refused``, or ``wrong``."""
    volumes, refused = [], bool(found.damaged)
    for series in find_series(found, same_pixels):
        for part in series.parts:
            try:
                if part.refusal is not None:
                    raise part.refusal
                volumes.append(read_stack(part.stack, Path("scan")))
            except InputError:
                refused = True
    if not volumes:
        assert refused
        return "refused"
    if len(volumes) == 1 and agrees(volumes[0], data, affine, MOVED_MM):
        return "same"
    return "flag" if refused or all(volume.notes for volume in volumes) else "wrong"


@pytest.mark.parametrize("count", [150, pytest.param(500, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_no_mutation_is_read_wrong_silently(kind, count):
    pydicom = pytest.importorskip("pydicom")
    generator = np.random.default_rng(20)
    data, affine = (
        scanner.small_head((24, 28, 20)),
        scanner.turned(shape=(24, 28, 20), voxel=(7, 7, 6)),
    )
    whole = kind == "enhanced"
    images = [scanner.enhanced(data, affine)] if whole else scanner.classic(data, affine)
    clean = [load(ds, number) for number, ds in enumerate(images)]
    counts = dict.fromkeys(("same", "flag", "refused", "wrong"), 0)
    wrong = []
    with pydicom.config.disable_value_validation():
        while sum(counts.values()) < count:
            place = (
                0
                if whole
                else int(generator.choice([0, len(images) - 1, generator.integers(len(images))]))
            )
            change = mutate(images[place], generator)
            if change is None:
                continue
            what, undo = change
            mutated = load(images[place], place)
            undo()
            parts = [mutated if n == place else one for n, one in enumerate(clean)]
            found = StudyFiles(
                [file for part in parts for file in part.images],
                damaged=[file for part in parts for file in part.damaged],
            )
            end = outcome(found, data, affine)
            counts[end] += 1
            if end == "wrong":
                wrong.append(f"{place}: {what}")
    assert not wrong
    least = 30 * count / 500
    assert min(counts["same"], counts["refused"]) > least  # else it would prove little


@pytest.mark.parametrize("place", [0, 10, -1])
@pytest.mark.parametrize("across", [False, True], ids=["along the normal", "in the plane"])
def test_a_slice_that_is_said_to_lie_elsewhere_is_refused(place, across):
    """Random mutations hit the ends of a stack, which decide about the affine, too seldom."""
    data, affine = (
        scanner.small_head((24, 28, 20)),
        scanner.turned(shape=(24, 28, 20), voxel=(7, 7, 6)),
    )
    images = scanner.classic(data, affine)
    axis = 0 if across else 2
    direction = affine[:3, axis] / np.linalg.norm(affine[:3, axis]) * (-1, -1, 1)
    clean = [load(ds, number) for number, ds in enumerate(images)]
    before = np.array(images[place].ImagePositionPatient, float)
    for size in (-6.0, -3.0, -0.5, -0.2, 0.2, 0.5, 3.0, 6.0):
        images[place].ImagePositionPatient = scanner.decimal(before + size * direction)
        moved = load(images[place], place % len(images))
        parts = [moved if n == place % len(images) else one for n, one in enumerate(clean)]
        found = StudyFiles([file for part in parts for file in part.images])
        assert outcome(found, data, affine) == "refused", size
