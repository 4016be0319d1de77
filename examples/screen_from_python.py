"""Four ways to screen scans from Python.

    python examples/screen_from_python.py [FOLDER]

The scans are synthetic. Research software, not a medical device.
"""

import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from synthetic import add_lesion, save, scan_of, tissue_labels

from dal_fast import InputError, Screener


def main(folder: Path) -> None:
    labels = tissue_labels()
    stripped = scan_of(labels)
    add_lesion(stripped, labels)
    scan = save(folder / "sub-01_T2w.nii.gz", stripped)

    # 1. A skull-stripped scan, by its path. The model is loaded once and stays in memory.
    screener = Screener()
    result = screener.screen(scan)
    print(f"1. {result.name}: score {result.score:.2f}, {len(result.regions)} regions")
    for region in result.regions[:1]:
        x, y, z = region.centre
        print(f"   {region.volume_ml:.1f} mL, peak at {x:+.0f}, {y:+.0f}, {z:+.0f} mm")
    for flag in result.flags:
        print(f"   note [{flag.code}]: {flag.message}")
    # The maps are arrays on the scan's own grid.
    anomaly = nib.Nifti1Image(result.anomaly.data, result.anomaly.affine)
    nib.save(anomaly, folder / "anomaly.nii.gz")

    # 2. A scan with background, and a brain mask on its grid.
    background = np.abs(np.random.default_rng(1).normal(0, 20, stripped.shape))
    head = save(folder / "head_T2w.nii.gz", (stripped + background).astype(np.float32))
    mask = save(folder / "head_mask.nii.gz", (labels > 0).astype(np.uint8))
    result = screener.screen(head, mask=mask)
    used = Path(result.source["mask"]).name
    print(f"2. {result.name}: score {result.score:.2f}, with the mask {used}")

    # 3. Many scans, one model. An error concerns one scan; its code says why.
    empty = save(folder / "sub-03_T2w.nii.gz", np.zeros((40, 40, 40), np.float32))
    healthy = save(folder / "sub-02_T2w.nii.gz", scan_of(tissue_labels(seed=2), seed=2))
    print("3. many scans")
    for path in (scan, healthy, empty):
        try:
            print(f"   {path.name}: score {screener.screen(path).score:.2f}")
        except InputError as error:
            print(f"   {path.name}: error [{error.code}]")

    # 4. With options: on torch, bright lesions only, without the median that erases small ones.
    bright = Screener(runtime="torch", score="standard_positive", median=0)
    result = bright.screen(scan)
    marked = int(result.anomaly_mask.data.sum())
    print(f"4. {bright.score}: {marked} voxels above {result.threshold:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="dal-fast-")))
