"""Networks, recoupling and weight files."""

from dal_fast.models.autoencoder import Autoencoder, AutoencoderConfig, AutoencoderOutput
from dal_fast.models.brain_net import BrainNet, BrainNetConfig
from dal_fast.models.config import DALConfig
from dal_fast.models.dal import DAL, PARTS, DALOutput, parts_needed
from dal_fast.models.recouple import closed_form
from dal_fast.models.registry import (
    AnyConfig,
    AnyModel,
    AnyOutput,
    Trainable,
    build_model,
    create_model,
    inference_parts,
    model_names,
)
from dal_fast.models.weights import (
    load_brain_net,
    load_model,
    load_screening_model,
    load_weights,
    read_card,
    rewrite_card,
    save_weights,
)
from dal_fast.weights import weights_path, weights_sha256

__all__ = [
    "DAL",
    "PARTS",
    "AnyConfig",
    "AnyModel",
    "AnyOutput",
    "Autoencoder",
    "AutoencoderConfig",
    "AutoencoderOutput",
    "BrainNet",
    "BrainNetConfig",
    "DALConfig",
    "DALOutput",
    "Trainable",
    "build_model",
    "closed_form",
    "create_model",
    "inference_parts",
    "load_brain_net",
    "load_model",
    "load_screening_model",
    "load_weights",
    "model_names",
    "parts_needed",
    "read_card",
    "rewrite_card",
    "save_weights",
    "weights_path",
    "weights_sha256",
]
