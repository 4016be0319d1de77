"""Configurations: the recipes that come along are valid, mistakes are named."""

import pytest
import torch

from dal_fast import DalFastError
from dal_fast.models import build_model, inference_parts, load_weights
from dal_fast.training.config import read_config, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_trains_what_its_model_needs(name):
    config = read_config(name)
    trained = {part for stage in config.stages for part in stage.trains}
    if config.init:  # a model without a head on residual evidence leaves that of its start behind
        trained |= set(load_weights(config.init).parts)
        trained -= set() if config.model.residual_head_widths else {"residual_head"}
    assert set(inference_parts(config.model)) - {"evidence"} <= trained
    with torch.device("meta"):
        assert set(build_model(config.model, [*trained]).parts) == trained


def test_there_are_recipes():
    assert {"default", "published", "luo2023", "f_anogan"} <= set(recipe_names())


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("stages = 3", "stages"),
        ("nothing here", "TOML"),
        ("", "stages"),
        ('[[stages]]\nname="a"\ntrains=["brain"]\nsteps=1\nlosses={tissue=1}', "brain"),
        ('[[stages]]\nname="a"\ntrains=["tissue"]\nsteps=1\nlosses={colour=1}', "colour"),
        ('[[stages]]\nname="a"\ntrains=["tissue"]\nsteps=0\nlosses={tissue=1}', "steps"),
        ('[[stages]]\nname="a"\ntrains=["tissue"]\nsteps=1\nlosses={}', "at least one"),
        (
            '[[stages]]\nname="a"\ntrains=["tissue"]\nstepz=1\nlosses={tissue=1}',
            "stages.1.stepz: there is no such key",
        ),
        ('size=3\n[[stages]]\nname="a"\ntrains=["tissue"]\nsteps=1\nlosses={tissue=1}', "size"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, what):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(DalFastError, match=what) as refused:
        read_config(path)
    assert refused.value.code == "config"


def test_no_such_recipe():
    with pytest.raises(DalFastError, match="default"):
        read_config("nothing")
