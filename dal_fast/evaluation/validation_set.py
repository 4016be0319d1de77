"""The built-in cases: healthy brains, the same with synthetic lesions, and real patients.

    dal-fast make-validation OUT --data ixi-hh-2mm --patients mslub --seed 0

Every held-out subject gives, for each of real T1w, T2w-like and FLAIR-like contrast, one healthy
scan and one with bright and one with dark lesions, whose size goes round small, medium and large.
Scans are degraded as in training. ``cases.tsv`` lists them; the masks lie beside the scans.
Synthetic lesions differ from real ones, and are probably easier to detect: such a set compares
detectors, it does not predict how well they do on patients.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import torch
from isal import igzip
from numpy.typing import NDArray

from dal_fast import __version__
from dal_fast.errors import Code, InputError
from dal_fast.evaluation.cases import Case, CaseList, check_exists, decode
from dal_fast.evaluation.report.tables import write_table
from dal_fast.imaging.atomic import write_bytes, write_json
from dal_fast.imaging.bids import collect_scans, find_lesion_masks, parse_name
from dal_fast.imaging.nifti import read_volume
from dal_fast.report.index import Failure
from dal_fast.synthesis.brains import SCANS, Brain, fit_to_stride
from dal_fast.synthesis.lesions import LesionRecipe
from dal_fast.synthesis.synthesiser import Recipe, Sample, Synthesiser

HEALTHY, REAL = "healthy", "real"
SIGNS = {"bright": 1.0, "dark": 0.0}
SIZES = {"small": (1.5, 3.0), "medium": (3.0, 7.0), "large": (7.0, 18.0)}
"""Lesion radii, in voxels of 2 mm."""
TABLE = "cases.tsv"
_FILES = ("scan", "brain", "lesion")
_STRIDE = 16  # of the volumes' sides; any network's fits
_MOST_TRIES = 5


@dataclass(frozen=True)
class SetRow:
    """One row of ``cases.tsv``.

    Attributes:
        case: unique name.
        subject: whose brain it is.
        contrast: ``"T1w"``, ``"T2w"`` or ``"FLAIR"``.
        sign: ``"healthy"``, ``"bright"``, ``"dark"`` or ``"real"``.
        size: ``""``, or a key of ``SIZES``.
        lesion_ml: volume of all its lesions.
        scan, brain, lesion: NIfTI files, relative to the table or absolute; ``brain`` is empty for
            a scan whose mask is found beside it or that is stripped, ``lesion`` for a healthy one.
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


@dataclass(frozen=True)
class Participant:
    """A row of ``participants.tsv``: ``split`` is ``"val"``, where thresholds may come from, for
    every third synthetic subject, else ``"test"``."""

    participant_id: str
    split: str


def make_validation(out: Path, brains: list[Brain], seed: int) -> Iterator[SetRow]:
    """Write the synthetic part of a set, case by case.

    Args:
        out: folder.
        brains: held-out, with real scans.
        seed: of degradations and lesions; another seed is another draw of the same set.
    """
    for number, brain in enumerate(b for b in brains if "T1w" in b.scans):
        for c, contrast in enumerate(SCANS):
            for s, sign in enumerate((HEALTHY, *SIGNS)):
                size = list(SIZES)[(number + c + s) % len(SIZES)] if sign in SIGNS else ""
                generator = torch.Generator().manual_seed(seed + 1009 * (3 * (3 * number + c) + s))
                sample = _sample(brain, contrast, sign, size, generator)
                yield _write(out, brain.name, contrast, sign, size, sample)


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
            lesion = read_volume(mask)
        except InputError as error:
            failures.append((name.stem, error.code, error.message))
            continue
        ml = float((lesion.data > 0).sum() * float(np.prod(lesion.voxel_mm)) / 1000)
        subject, files = f"sub-{name.entities['sub']}", (str(scan.absolute()), "")
        rows.append(
            SetRow(
                name.stem, subject, name.suffix, REAL, "", round(ml, 4), *files,
                str(mask.absolute()),
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
        "GeneratedBy": [{"Name": "dal_fast", "Version": __version__}],
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
        Cases whose facts are ``draw``, ``contrast``, ``sign`` and ``size``, and a ``file-missing``
        for every case one of whose files is not there.

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
        facts = {"draw": draw, "contrast": row.contrast, "sign": row.sign, "size": row.size}
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


def _sample(
    brain: Brain, contrast: str, sign: str, size: str, generator: torch.Generator
) -> Sample:
    """One brain; drawn again where the lesions happen to vanish."""
    scan = fit_to_stride(brain.scans["T1w"], _STRIDE).float()
    structures = fit_to_stride(brain.structures, _STRIDE)
    recipe = replace(
        Recipe().only(contrast),
        lesions=float(sign in SIGNS),
        bright=SIGNS.get(sign),
        lesion=LesionRecipe(radius=SIZES.get(size, SIZES["small"])),
    )
    synthesiser = Synthesiser(generator, recipe)
    make = synthesiser.keep if contrast == "T1w" else synthesiser.remap
    with _one_thread():
        for _ in range(_MOST_TRIES):
            sample = make(scan, structures)
            if sign not in SIGNS or bool(sample.lesion.any()):
                break
    return sample


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The rounding of torch's sums and matrix products depends on the number of threads; a set
    must not."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write(out: Path, subject: str, contrast: str, sign: str, size: str, sample: Sample) -> SetRow:
    case = f"{subject}_acq-{sign}{size}_{contrast}"
    anat = Path(subject) / "anat"
    (out / anat).mkdir(parents=True, exist_ok=True)
    stem = f"{subject}_acq-{sign}{size}"
    files = {
        "scan": (anat / f"{case}.nii.gz", sample.image[0, 0].numpy()),
        "brain": (anat / f"{stem}_mod-{contrast}_desc-brain_mask.nii.gz", sample.mask[0, 0]),
    }
    if sign in SIGNS:
        lesion = anat / f"{stem}_mod-{contrast}_label-lesion_mask.nii.gz"
        files["lesion"] = (lesion, sample.lesion[0, 0])
    for path, voxels in files.values():
        _write_image(out / path, np.asarray(voxels))
    ml = round(float(sample.lesion.sum()) * 0.008, 4)
    paths = {"lesion": ""} | {name: path.as_posix() for name, (path, _) in files.items()}
    return SetRow(case, subject, contrast, sign, size, ml, **paths)


def _write_image(path: Path, voxels: NDArray[np.generic]) -> None:
    dtype = np.uint8 if voxels.dtype == np.bool_ else np.float32
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    image = nibabel.Nifti1Image(voxels.astype(dtype), affine)  # type: ignore[no-untyped-call]
    write_bytes(path, igzip.compress(image.to_bytes(), compresslevel=3, mtime=0))  # type: ignore[no-untyped-call]
