"""The built-in cases: healthy brains, the same with synthetic lesions, and real patients.

    dal-fast make-validation OUT --data ixi-hh-2mm --masks mslub-masks --patients mslub --seed 0

Every held-out subject gives, by each generator (:mod:`dal_fast.evaluation.validation_samples`) and
for each of real T1w, T2w-like and FLAIR-like contrast, one healthy scan and one with bright and one
with dark lesions, whose size goes round small, medium and large; by ``shifted`` also a scan with
decoys, whose mask is listed as that of its lesions and whose voxels no detector should mark.
``cases.tsv`` lists them; the masks lie beside the scans. Synthetic lesions differ from real ones:
such a set compares detectors, it does not predict how well they do on patients.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from isal import igzip
from numpy.typing import NDArray
from torch import Tensor

from dal_fast._version import generated_by
from dal_fast.errors import Code, InputError
from dal_fast.evaluation.cases import Case, CaseList, check_exists, decode
from dal_fast.evaluation.report.tables import write_table
from dal_fast.evaluation.validation_samples import (
    DECOY,
    GENERATORS,
    HEALTHY,
    VOXEL_ML,
    Plan,
    draw,
    plans,
    size_of,
)
from dal_fast.imaging.atomic import write_bytes, write_json
from dal_fast.imaging.bids import collect_scans, parse_name
from dal_fast.imaging.folders import make_folder
from dal_fast.imaging.mask_files import find_lesion_masks
from dal_fast.imaging.nifti import read_volume
from dal_fast.imaging.normalise import CEILING
from dal_fast.imaging.orientation import voxel_ml
from dal_fast.report.index import Failure
from dal_fast.synthesis.brains import SCANS, Brain
from dal_fast.synthesis.sample import Sample

REAL = "real"
TABLE = "cases.tsv"
_FILES = ("scan", "brain", "lesion")


@dataclass(frozen=True)
class SetRow:
    """One row of ``cases.tsv``.

    Attributes:
        case: unique name.
        subject: whose brain it is.
        contrast: ``"T1w"``, ``"T2w"`` or ``"FLAIR"``.
        sign: ``"healthy"``, ``"bright"``, ``"dark"``, ``"decoy"`` or ``"real"``.
        size: ``""``, ``"small"``, ``"medium"`` or ``"large"``.
        lesion_ml: volume of all its lesions, or decoys.
        scan, brain, lesion: NIfTI files, relative to the table or absolute; ``brain`` is empty for
            a scan whose mask is found beside it or that is stripped, ``lesion`` for a healthy one.
        generator: of ``GENERATORS``; ``""`` for a real scan. Tables without this column, which
            earlier versions wrote, hold ``"ellipsoids"``.
    """

    case: str
    subject: str
    contrast: str
    sign: str
    size: str
    lesion_ml: float
    scan: str
    brain: str
    lesion: str
    generator: str = GENERATORS[0]


@dataclass(frozen=True)
class Participant:
    """A row of ``participants.tsv``: ``split`` is ``"val"``, where thresholds may come from, for
    every third synthetic subject, else ``"test"``."""

    participant_id: str
    split: str


def make_validation(
    out: Path,
    brains: list[Brain],
    seed: int,
    generators: Sequence[str] = GENERATORS[:1],
    masks: Sequence[Tensor] = (),
) -> Iterator[SetRow]:
    """Write the synthetic part of a set, case by case.

    Args:
        out: folder.
        brains: held-out, with real scans.
        seed: of degradations and lesions; another seed is another draw of the same set.
        generators: of ``GENERATORS``.
        masks: that the generator ``masks`` paints.

    Raises:
        InputError: ``value`` for an unknown generator, or ``masks`` without any.
    """
    check_generators(generators, masks)
    for generator in generators:
        for number, brain in enumerate(b for b in brains if "T1w" in b.scans):
            for plan in plans(generator, number):
                yield _write(out, brain.name, plan, draw(brain, plan, masks, seed))


def check_generators(generators: Sequence[str], masks: Sequence[Tensor]) -> None:
    """Refuse unknown generators, and ``masks`` without any mask.

    Raises:
        InputError: ``value``.
    """
    unknown = sorted(set(generators) - set(GENERATORS))
    if unknown:
        raise InputError(
            Code.VALUE, f"the generator must be one of {', '.join(GENERATORS)}, not {unknown[0]!r}"
        )
    if "masks" in generators and not masks:
        raise InputError(
            Code.VALUE,
            "the generator masks paints given lesion masks; name their folder by --masks",
        )


def patient_rows(folder: Path) -> tuple[list[SetRow], list[Failure]]:
    """Rows of real scans with a lesion mask, found as in any BIDS dataset.

    Returns:
        The rows, and a failure for every scan whose lesion mask cannot be used.

    Raises:
        InputError: ``no-data`` where no scan has a lesion mask.
    """
    rows: list[SetRow] = []
    failures: list[Failure] = []
    for scan in collect_scans(folder):
        name, mask = parse_name(scan), next(iter(find_lesion_masks(scan)), None)
        if name.suffix not in SCANS or mask is None:
            continue
        try:
            lesion = read_volume(mask, nonfinite="replace")
        except InputError as error:
            failures.append((name.stem, error.code, error.message))
            continue
        ml = float(np.count_nonzero(lesion.data > 0.5) * voxel_ml(lesion.affine))
        subject, files = f"sub-{name.entities['sub']}", (str(scan.absolute()), "")
        rows.append(
            SetRow(
                name.stem, subject, name.suffix, REAL, "", round(ml, 4), *files,
                str(mask.absolute()), "",
            )
        )  # fmt: skip
    if not rows and not failures:
        raise InputError(
            Code.NO_DATA, f"{folder} holds no scan with a label-lesion_mask.nii.gz beside it"
        )
    return sorted(rows, key=lambda row: (row.subject, SCANS.index(row.contrast))), failures


def write_set(out: Path, rows: Sequence[SetRow], seed: int) -> None:
    """``cases.tsv``, ``participants.tsv`` and ``dataset_description.json``."""
    about = {
        "Name": "dal_fast validation set",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [generated_by()],
        "Seed": seed,
    }
    write_json(out / "dataset_description.json", about)
    write_table(out / TABLE, SetRow, rows, "\t")
    validation = sorted({row.subject for row in rows if row.sign != REAL})[::3]
    subjects = sorted({row.subject for row in rows})
    people = [Participant(name, "val" if name in validation else "test") for name in subjects]
    write_table(out / "participants.tsv", Participant, people, "\t")


def read_set(folder: Path, draw: str | None = None) -> CaseList:
    """The cases of a set.

    Args:
        folder: of ``cases.tsv``.
        draw: name of the set among others; the folder's by default.

    Returns:
        Cases whose facts are ``draw``, ``generator``, ``contrast``, ``sign`` and ``size``, and a
        ``file-missing`` for every case one of whose files is not there.

    Raises:
        InputError: ``no-data`` where there is no ``cases.tsv`` or one with other columns.
    """
    draw = folder.resolve().name if draw is None else draw
    cases: list[Case] = []
    failures: list[Failure] = []
    for row in read_rows(folder):
        try:
            files = {name: _file(folder, row, name) for name in _FILES}
        except InputError as error:
            failures.append((row.case, error.code, error.message))
            continue
        scan, brain, lesion = files.values()
        assert scan is not None  # checked by read_rows
        facts = {"draw": draw, "generator": row.generator, "contrast": row.contrast}
        facts |= {"sign": row.sign, "size": row.size}
        participant = row.subject.removeprefix("sub-")
        case = Case(row.case, participant, scan, brain, lesion, facts, row.sign == HEALTHY)
        cases.append(case)
    return CaseList(cases, failures)


def read_sets(folders: Sequence[Path]) -> list[CaseList]:
    """The cases of several draws, named by their folders, or by whole paths where those agree.

    Raises:
        InputError: as :func:`read_set`.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return [read_set(folder, name) for folder, name in zip(folders, names, strict=True)]


def read_rows(folder: Path) -> list[SetRow]:
    """The rows of ``cases.tsv`` as they are written there.

    Raises:
        InputError: ``no-data``.
    """
    try:
        text = decode((folder / TABLE).read_bytes())
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t")
        rows = [SetRow(**{**row, "lesion_ml": float(row["lesion_ml"])}) for row in table]  # type: ignore[arg-type]
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise _no_set(folder, str(error)) from None
    for row in rows:
        if not row.scan or (row.sign == HEALTHY) == bool(row.lesion):
            raise _no_set(folder, f"{row.case} has not the files that its sign asks for")
    if not rows:
        raise _no_set(folder, "it has no row")
    return rows


def _no_set(folder: Path, reason: str) -> InputError:
    return InputError(
        Code.NO_DATA, f"{folder / TABLE} is not a table of cases ({reason}); make one with "
        "dal-fast make-validation"
    )  # fmt: skip


def _file(folder: Path, row: SetRow, name: str) -> Path | None:
    cell = getattr(row, name)
    if not cell:
        return None
    path: Path = folder / cell
    check_exists(path, f"{folder / TABLE} names {path}")
    return path


def _write(out: Path, subject: str, plan: Plan, sample: Sample) -> SetRow:
    marked = sample.decoy if plan.sign == DECOY else sample.lesion
    assert marked is not None  # every synthesis tells where its decoys are
    ml = 0.0 if plan.sign == HEALTHY else round(float(marked.sum()) * VOXEL_ML, 4)
    size = size_of(plan, ml)
    # the first generator's part stays what it was, cut off at twice the median; real scans are not
    image, first = sample.image, plan.generator
    if first == GENERATORS[0]:
        image, first = image.clamp_max(CEILING), ""
    stem = f"{subject}_acq-{first}{plan.sign}{size}"
    case, anat = f"{stem}_{plan.contrast}", Path(subject) / "anat"
    make_folder(out / anat)
    files = {
        "scan": (anat / f"{case}.nii.gz", image[0, 0].numpy()),
        "brain": (anat / f"{stem}_mod-{plan.contrast}_desc-brain_mask.nii.gz", sample.mask[0, 0]),
    }
    if plan.sign != HEALTHY:
        what = "decoy" if plan.sign == DECOY else "lesion"
        mask = anat / f"{stem}_mod-{plan.contrast}_label-{what}_mask.nii.gz"
        files["lesion"] = (mask, marked[0, 0])
    for path, voxels in files.values():
        _write_image(out / path, np.asarray(voxels))
    paths = {"lesion": ""} | {name: path.as_posix() for name, (path, _) in files.items()}
    return SetRow(
        case, subject, plan.contrast, plan.sign, size, ml, **paths, generator=plan.generator
    )


def _write_image(path: Path, voxels: NDArray[np.generic]) -> None:
    dtype = np.uint8 if voxels.dtype == np.bool_ else np.float32
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    image = nibabel.Nifti1Image(voxels.astype(dtype), affine)  # type: ignore[no-untyped-call]
    write_bytes(path, igzip.compress(image.to_bytes(), compresslevel=3, mtime=0))  # type: ignore[no-untyped-call]
