"""Networks, recoupling and weight files."""

from dal_fast.models.config import DALConfig
from dal_fast.models.dal import DAL, PARTS, DALOutput, parts_needed
from dal_fast.models.recouple import closed_form
from dal_fast.models.registry import create_model, model_names
from dal_fast.models.weights import (
    load_weights,
    read_card,
    save_weights,
    weights_path,
    weights_sha256,
)

__all__ = [
    "DAL",
    "PARTS",
    "DALConfig",
    "DALOutput",
    "closed_form",
    "create_model",
    "load_weights",
    "model_names",
    "parts_needed",
    "read_card",
    "save_weights",
    "weights_path",
    "weights_sha256",
]
