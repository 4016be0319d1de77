"""A tiny autoencoder, untrained or trained for a moment."""

import torch

from dal_fast.models import AutoencoderConfig, build_model, save_weights

SMALL = {"shape": (32, 40, 32), "voxel_mm": 2.0, "widths": (4, 8), "length": 6}


def config(code="dense", **changes):
    return AutoencoderConfig(**{"code": code, "contrast": "T1w", **SMALL, **changes})


def model(code="dense", parts=None, **changes):
    torch.manual_seed(0)
    return build_model(config(code, **changes), parts).eval()


def weights(folder, code="dense", card=None, **changes):
    """A weight file in ``folder``."""
    path = folder / f"{code}.safetensors"
    own = model(code, **changes)
    save_weights(path, own, card or {}, own.parts)
    return path
