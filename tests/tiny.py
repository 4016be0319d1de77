"""Small untrained weights: enough network for tests of everything around it."""

import pytest
import torch

from dal_fast.models import DAL, DALConfig, save_weights
from dal_fast.weights import DEFAULT

needs_default_weights = pytest.mark.skipif(
    not DEFAULT.is_file(), reason="this checkout holds no trained weights"
)


def tiny_weights(folder):
    torch.manual_seed(0)
    model = DAL(DALConfig(tissue_widths=(4, 8)))
    save_weights(folder / "tiny.safetensors", model, {"trained": False}, parts=model.parts)
    return folder / "tiny.safetensors"
