"""Train a small tissue network on label maps alone, and screen a scan with it.

    python examples/train_small.py [FOLDER]

The data are synthetic and the network is tiny, so that this takes less than a minute on a CPU. A
real training needs a derivative with label maps (see docs/howto/train.md). Needs dal_fast[train].
"""

import sys
import tempfile
from pathlib import Path

from synthetic import T1W, add_lesion, save, scan_of, tissue_labels

from dal_fast import Screener
from dal_fast.training import train
from dal_fast.training.config import read_config

RECIPE = """
seed = 0
validate_every = 10

[model]
voxel_mm = 4.0                  # the shipped network works at 2 mm
tissue_widths = [4, 8, 16]      # channels by level; the shipped network has [8, 16, 48, 96]

[samples]
contrasts = 2                   # two contrasts of the same brain in a step
lesions = 0.5                   # half of the samples get synthetic lesions

[[stages]]
name = "tissue"
trains = ["tissue"]
steps = 10
losses = { tissue = 1.0, dice = 0.5, lesion = 0.5, consistency = 0.3 }
"""


def write_derivative(folder: Path, subjects: int) -> Path:
    """A BIDS derivative: for each subject a skull-stripped T1w and its label map."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ("index\tname\ttissue", "1\tfluid\tCSF", "2\tcortex\tGM", "3\twhite\tWM")
    (folder / "dseg.tsv").write_text("\n".join(rows) + "\n")
    for number in range(subjects):
        subject = f"sub-{number:02d}"
        labels = tissue_labels(seed=number)
        anat = folder / subject / "anat"
        save(anat / f"{subject}_dseg.nii.gz", labels)
        save(anat / f"{subject}_desc-brain_T1w.nii.gz", scan_of(labels, T1W, seed=number))
    return folder


def main(folder: Path) -> None:
    data = write_derivative(folder / "derivative", subjects=8)
    recipe = folder / "small.toml"
    recipe.write_text(RECIPE)

    config = read_config(recipe)
    fabric = train.make_fabric("cpu", devices=1, config=config)
    weights = train.run(config, data, folder / "run", fabric)
    print(f"trained {config.steps} steps: {weights.name}")
    print((folder / "run" / "validation.csv").read_text().strip())

    labels = tissue_labels(seed=100)
    scan = scan_of(labels, seed=100)
    add_lesion(scan, labels)
    path = save(folder / "sub-new_T2w.nii.gz", scan)
    result = Screener(weights, runtime="torch").screen(path)
    print(f"{result.name}: score {result.score:.2f}; such a short training finds little")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="dal-fast-")))
