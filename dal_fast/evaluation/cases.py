"""A validation set on disk: healthy brains, the same with synthetic lesions, real patients.

    dal-fast make-validation OUT --data ixi-hh-2mm --mslub mslub --seed 0

Every held-out subject gives, for each of real T1w, T2w-like and FLAIR-like contrast, one healthy
scan and one with bright and one with dark lesions, whose size goes round small, medium and large.
Scans are degraded as in training. ``cases.tsv`` lists them; the masks lie beside the scans.
Synthetic lesions are easier, or at least other, than real ones: such a set compares detectors, it
promises nothing.
"""

from __future__ import annotations

import contextlib
import csv
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
from dal_fast.evaluation.tables import write_table
from dal_fast.imaging.atomic import write_bytes, write_json
from dal_fast.imaging.nifti import read_volume
from dal_fast.synthesis.brains import SCANS, Brain, fit_to_stride
from dal_fast.synthesis.lesions import LesionRecipe
from dal_fast.synthesis.synthesiser import Recipe, Sample, Synthesiser

SIGNS = {"bright": 1.0, "dark": 0.0}
SIZES = {"small": (1.5, 3.0), "medium": (3.0, 7.0), "large": (7.0, 18.0)}
"""Lesion radii, in voxels of 2 mm."""
TABLE = "cases.tsv"
_STRIDE = 16  # of the volumes' sides; any network's fits
_MOST_TRIES = 5


@dataclass(frozen=True)
class ValidationCase:
    """One row of ``cases.tsv``; paths are relative to its folder, or absolute.

    Attributes:
        case: unique name.
        subject: whose brain it is.
        contrast: ``"T1w"``, ``"T2w"`` or ``"FLAIR"``.
        sign: ``"healthy"``, ``"bright"``, ``"dark"`` or ``"real"``.
        size: ``""``, or a key of ``SIZES``.
        lesion_ml: volume of all its lesions.
        scan, brain, lesion: NIfTI files; ``brain`` is empty for a stripped scan, ``lesion`` for
            a healthy one.
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


def make_validation(out: Path, brains: list[Brain], seed: int) -> Iterator[ValidationCase]:
    """Write the synthetic part of a set, case by case.

    Args:
        out: folder.
        brains: held-out, with real scans.
        seed: of degradations and lesions; another seed is another draw of the same set.
    """
    for number, brain in enumerate(b for b in brains if "T1w" in b.scans):
        for c, contrast in enumerate(SCANS):
            for s, sign in enumerate(("healthy", *SIGNS)):
                size = list(SIZES)[(number + c + s) % len(SIZES)] if sign in SIGNS else ""
                draw = torch.Generator().manual_seed(seed + 1009 * (3 * (3 * number + c) + s))
                sample = _sample(brain, contrast, sign, size, draw)
                yield _write(out, brain.name, contrast, sign, size, sample)


def patients(folder: Path) -> list[ValidationCase]:
    """Real scans with a lesion mask: ``sub-*/anat/sub-*_label-lesion_mask.nii.gz`` (BIDS)."""
    cases = []
    for mask in sorted(folder.glob("sub-*/anat/sub-*_label-lesion_mask.nii.gz")):
        subject = mask.name.split("_")[0]
        for contrast in SCANS:
            scan = mask.with_name(f"{subject}_{contrast}.nii.gz")
            if not scan.is_file():
                continue
            lesion = read_volume(mask)
            ml = (lesion.data > 0).sum() * float(np.prod(lesion.voxel_mm)) / 1000
            paths = (str(scan.resolve()), "", str(mask.resolve()))
            row = (f"{subject}_{contrast}", subject, contrast, "real", "", round(float(ml), 4))
            cases.append(ValidationCase(*row, *paths))
    if not cases:
        raise InputError(Code.NO_DATA, f"{folder} holds no sub-*/anat/*_label-lesion_mask.nii.gz")
    return cases


@dataclass(frozen=True)
class Participant:
    """A row of ``participants.tsv``: ``split`` is ``"val"``, where thresholds may come from, for
    every third synthetic subject, else ``"test"``."""

    participant_id: str
    split: str


def write_set(out: Path, cases: Sequence[ValidationCase], seed: int) -> None:
    """``cases.tsv``, ``participants.tsv`` and ``dataset_description.json``."""
    about = {
        "Name": "dal_fast validation set",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "dal_fast", "Version": __version__}],
        "Seed": seed,
    }
    write_json(out / "dataset_description.json", about)
    write_table(out / TABLE, ValidationCase, cases, "\t")
    chosen = sorted({case.subject for case in cases if case.sign != "real"})[::3]
    people = sorted({case.subject for case in cases})
    rows = [Participant(name, "val" if name in chosen else "test") for name in people]
    write_table(out / "participants.tsv", Participant, rows, "\t")


def read_table(folder: Path) -> list[ValidationCase]:
    """The cases of a set, paths made absolute.

    Raises:
        InputError: ``no-data`` where there is no ``cases.tsv`` or one with other columns.
    """
    try:
        with (folder / TABLE).open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        return [_absolute(folder, row) for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            Code.NO_DATA, f"{folder / TABLE} is not a table of cases ({error}); make one with "
            "dal-fast make-validation"
        ) from None  # fmt: skip


def _absolute(folder: Path, row: dict[str, str]) -> ValidationCase:
    paths = {k: str(folder / row[k]) if row[k] else "" for k in ("scan", "brain", "lesion")}
    return ValidationCase(**{**row, **paths, "lesion_ml": float(row["lesion_ml"])})  # type: ignore[arg-type]


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
    """torch's sums and matrix products round as the number of threads says; a set must not."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write(
    out: Path, subject: str, contrast: str, sign: str, size: str, sample: Sample
) -> ValidationCase:
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
    return ValidationCase(case, subject, contrast, sign, size, ml, **paths)


def _write_image(path: Path, voxels: NDArray[np.generic]) -> None:
    kind = np.uint8 if voxels.dtype == np.bool_ else np.float32
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    image = nibabel.Nifti1Image(voxels.astype(kind), affine)  # type: ignore[no-untyped-call]
    write_bytes(path, igzip.compress(image.to_bytes(), compresslevel=3, mtime=0))  # type: ignore[no-untyped-call]
