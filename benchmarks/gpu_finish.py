"""Weights of :mod:`benchmarks.gpu_train` made ready to screen with: validated and calibrated.

    python -m benchmarks.gpu_finish WEIGHTS --pack .carry/brains.zip [--out FILE]

On the held-out brains of the pack, as ``dal-fast train`` does it at its end: the card gets the
metrics and the thresholds of healthy brains. Minutes on a CPU.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import gpu_pack
from dal_fast.evaluation.calibration import calibrate
from dal_fast.models import inference_parts, load_model, read_card, save_weights
from dal_fast.synthesis.brains import is_held_out
from dal_fast.training.validation import validate


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_finish", description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="default: WEIGHTS, replaced")
    options = parser.parse_args(arguments)
    scanned = [one for one in gpu_pack.read(options.pack) if one.scans]
    brains = [one for one in scanned if is_held_out(one.name)]
    others = [one for one in scanned if not is_held_out(one.name)]
    model, card = load_model(options.weights), read_card(options.weights)
    seed = int(card["seed"])
    metrics = validate(model, brains, seed).metrics
    card["metrics"] = {name: round(v, 4) for name, v in metrics.items() if math.isfinite(v)}
    card["healthy"] = calibrate(model, brains, seed, others).model_dump(mode="json")
    out = options.out or options.weights
    save_weights(out, model, card, parts=inference_parts(model.config))
    print(f"{out}: {card['metrics']}, {len(brains)} held-out brains")
    return 0


if __name__ == "__main__":
    sys.exit(main())
