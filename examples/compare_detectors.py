"""Compare three detectors on the same scans, and write one report.

    python examples/compare_detectors.py [FOLDER]

dal_fast's maps, a detector of your own that writes NIfTI files, and the built-in intensity baseline
are evaluated on synthetic scans with known lesions. Needs dal_fast[evaluate].
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from synthetic import add_lesion, save, scan_of, tissue_labels

PATIENTS, CONTROLS = 3, 3


def write_dataset(folder: Path) -> Path:
    """A BIDS dataset: patients with a lesion mask, and controls, of whom two set the thresholds."""
    rows = ["participant_id\tgroup\tsplit"]
    for number in range(PATIENTS + CONTROLS):
        group = "patient" if number < PATIENTS else "control"
        subject = f"sub-{group}{number}"
        rows.append(f"{subject}\t{group}\t{'val' if number > PATIENTS else 'test'}")
        labels = tissue_labels(seed=number)
        scan = scan_of(labels, seed=number)
        anat = folder / subject / "anat"
        if group == "patient":
            lesion = add_lesion(scan, labels, centre=(20 + 4 * number, 22, 14), radius=6 + number)
            save(anat / f"{subject}_label-lesion_mask.nii.gz", lesion.astype(np.uint8))
        save(anat / f"{subject}_desc-brain_mask.nii.gz", (labels > 0).astype(np.uint8))
        save(anat / f"{subject}_T2w.nii.gz", scan)
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    (folder / "dataset_description.json").write_text('{"Name": "demo", "BIDSVersion": "1.10.0"}')
    return folder


def my_detector(data: Path, maps: Path) -> None:
    """Any program can take part: it writes a map for each scan, on the scan's grid, by its name."""
    import nibabel as nib

    for scan in sorted(data.glob("sub-*/anat/*_T2w.nii.gz")):
        voxels = nib.load(scan).get_fdata()
        middle = np.median(voxels[voxels > 0])
        save(maps / scan.name, np.abs(voxels - middle).astype(np.float32) * (voxels > 0))


def dal_fast(*words: object) -> None:
    """Run the command line."""
    command = [sys.executable, "-m", "dal_fast.cli", *map(str, words)]
    subprocess.run(command, check=True)


def main(folder: Path) -> None:
    data = write_dataset(folder / "data")
    dal_fast("bids", data, folder / "dal", "participant", "--suffix", "T2w")
    my_detector(data, folder / "mine")
    report = folder / "report"
    dal_fast(
        "evaluate", f"dal={folder / 'dal'}", f"mine={folder / 'mine'}", "detector:intensity",
        "--data", data, "--suffix", "T2w", "--healthy", "group=control",
        "--validation", "split=val", "--out", report,
    )  # fmt: skip
    summary = json.loads((report / "summary.json").read_text())
    print("detectors:", ", ".join(summary["detectors"]))
    print("report:", report / "index.html")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="dal-fast-")))
