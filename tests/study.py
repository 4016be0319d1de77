"""A small study on disk: patients with lesions, healthy people, and maps of detectors."""

from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

SHAPE = (26, 32, 22)


@dataclass
class Study:
    """Arrays (I, J, K) by scan name, as they lie below ``data`` and ``maps[detector]``."""

    data: Path
    maps: dict[str, Path]
    scans: dict[str, np.ndarray] = field(default_factory=dict)
    brains: dict[str, np.ndarray] = field(default_factory=dict)
    lesions: dict[str, np.ndarray] = field(default_factory=dict)
    scores: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    def of(self, *participants):
        """Names of their scans, in order."""
        return sorted(name for name in self.scans if name.split("_")[0] in participants)


def write_study(root, patients=4, healthy=3, detectors=("good", "poor"), seed=0, shape=SHAPE):
    """``sub-p0…`` with lesions and ``sub-h0…`` without, T2w of 2 mm; healthy ones say so."""
    rng = np.random.default_rng(seed)
    study = Study(root / "data", {name: root / name for name in detectors})
    rows = ["participant_id\tgroup\tsite\tage"]
    for number in range(patients + healthy):
        sick = number < patients
        label = f"sub-p{number}" if sick else f"sub-h{number - patients}"
        group = ("patient", "control")[not sick]
        rows.append(f"{label}\t{group}\t{'AB'[number % 2]}\t{30 + number}")
        _write_one(study, label, rng, shape, sick)
    (study.data / "participants.tsv").write_text("\n".join(rows) + "\n")
    (study.data / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return study


def _write_one(study, label, rng, shape, sick):
    anat = study.data / label / "anat"
    anat.mkdir(parents=True)
    centred = [(np.arange(n) - (n - 1) / 2) / (n / 2 - 2) for n in shape]
    x, y, z = np.meshgrid(*centred, indexing="ij")
    brain = x**2 + y**2 + z**2 < 1
    scan = (1 + 0.2 * ndimage.gaussian_filter(rng.normal(size=shape), 1)) * brain
    lesion = np.zeros(shape, bool)
    if sick:
        noise = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
        lesion = brain & (noise > np.quantile(noise[brain], 0.97))
        scan[lesion] += 0.6
    name = f"{label}_T2w"
    save(anat / f"{name}.nii.gz", scan.astype(np.float32))
    save(anat / f"{label}_desc-brain_mask.nii.gz", brain.astype(np.uint8))
    if sick:
        save(anat / f"{label}_label-lesion_mask.nii.gz", lesion.astype(np.uint8))
    study.scans[name], study.brains[name], study.lesions[name] = scan, brain, lesion
    for strength, (detector, folder) in enumerate(study.maps.items()):
        score = ndimage.gaussian_filter(rng.random(shape), 0.7) + lesion / (3 + 4 * strength)
        score = score.astype(np.float32)
        where = folder / label / "anat"
        where.mkdir(parents=True, exist_ok=True)
        save(where / f"{label}_desc-anomaly_T2w.nii.gz", score)
        study.scores[detector, name] = score


def save(path, data, voxel_mm=2.0):
    nib.save(nib.Nifti1Image(data, np.diag([voxel_mm] * 3 + [1.0])), path)
    return path
