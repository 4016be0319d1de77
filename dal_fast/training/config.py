"""The recipe of a training: model, samples, stages and their losses, read from a TOML file.

    [model]                       # fields of DALConfig
    recoupler = "closed_form"

    [samples]
    contrasts = 2                 # of every brain in a step

    [[stages]]
    name = "tissue"
    trains = ["tissue"]
    steps = 3000
    losses = { tissue = 1.0, dice = 0.3, lesion = 0.5 }

Tables and keys that are left out have their defaults. Names of losses are those of
:data:`dal_fast.training.losses.LOSSES`; with ``kind = "autoencoder"`` in ``[model]``, whose fields
are then those of AutoencoderConfig, those of :mod:`dal_fast.training.reconstruction`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from dal_fast.errors import Code, InputError
from dal_fast.models import AnyConfig, AutoencoderConfig, DALConfig
from dal_fast.models.registry import PARTS_OF

RECIPES = Path(__file__).parent / "recipes"
LOSS_NAMES = {
    "dal": (
        "tissue",
        "dice",
        "lesion",
        "consistency",
        "reconstruction",
        "cross_reconstruction",
        "similarity",
        "edge_tissue",
        "code",
        "restoration",
        "reuse",
        "abnormality",
    ),
    "autoencoder": ("l2", "kl", "critic", "generator", "features"),
    "brain": ("distance", "overlap"),
}
"""By the kind of model."""
CRITIC = "critic"
Share = Annotated[float, Field(ge=0, le=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SampleConfig(_Table):
    """The samples of a training step.

    Attributes:
        brains: of a step, over all processes.
        contrasts: of every brain; the same anatomy, deformed alike. For an autoencoder 1.
        maps: share of brains that come from label maps without a scan, where there are any.
        painted, remapped, recoloured, kept: relative shares of the methods to make a contrast,
            see :mod:`dal_fast.synthesis.synthesiser`; ``kept`` are real scans.
        lesions: share of samples with synthetic lesions, at full difficulty. For an autoencoder 0.
        generator: ``"ellipsoids"``, :class:`~dal_fast.synthesis.recipe.Recipe`, or ``"varied"``,
            :class:`~dal_fast.synthesis.recipe.VariedRecipe`: lesions of many kinds, and decoys.
    """

    brains: PositiveInt = 1
    contrasts: PositiveInt = 2
    maps: Share = 0.2
    painted: NonNegativeFloat = 0.30
    remapped: NonNegativeFloat = 0.20
    recoloured: NonNegativeFloat = 0.30
    kept: NonNegativeFloat = 0.20
    lesions: Share = 0.8
    generator: Literal["ellipsoids", "varied"] = "ellipsoids"


class StageConfig(_Table):
    """One stage: which networks learn, from which losses, and for how long.

    Attributes:
        name: for logs.
        trains: networks of the model that learn; the others stay as they are.
        steps: of the optimiser.
        losses: weight of each loss.
        optimiser: ``"adamw"``; ``"adam"``, whose weight decay is part of the gradient; or
            ``"rmsprop"``.
        rate: learning rate, after a warm-up of 20 steps.
        schedule: ``"cosine"``, which leads the rate to 0, or ``"constant"``.
        betas: of Adam and AdamW.
        weight_decay: of the optimiser.
        clip: largest norm of the gradient; longer ones are scaled down to it.
        critic_steps: number of steps in which the critic alone learns, by its own loss, before
            each step in which the other networks learn by theirs.
        easy_until, hard_from: shares of the stage. Samples are easy before the first, follow the
            full recipe from the second, and change linearly between them.
        edge_corruption: share of samples of whose edges some are dropped and to which outlines of
            blobs are added, see :mod:`dal_fast.training.corruption`.
    """

    name: str
    trains: tuple[str, ...] = Field(min_length=1)
    steps: PositiveInt
    losses: dict[str, NonNegativeFloat]
    optimiser: Literal["adamw", "adam", "rmsprop"] = "adamw"
    rate: PositiveFloat = 3e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 1e-4
    clip: PositiveFloat = 5.0
    critic_steps: NonNegativeInt = 0
    easy_until: Share = 0.0
    hard_from: Share = 0.0
    edge_corruption: Share = 0.0

    @model_validator(mode="after")
    def _learns(self) -> StageConfig:
        if not any(self.losses.values()):
            raise ValueError("a stage trains at least one network by at least one loss")
        if self.critic_steps and not {*self.trains} > {CRITIC} < {*self.losses}:
            raise ValueError("critic_steps are for a stage that trains critic and another network")
        return self

    def turn(self, step: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Networks that learn, and losses, in the stage's ``step``-th step from 0."""
        if not self.critic_steps:
            return self.trains, tuple(self.losses)
        if step % (self.critic_steps + 1) < self.critic_steps:
            return (CRITIC,), (CRITIC,)
        networks = tuple(name for name in self.trains if name != CRITIC)
        return networks, tuple(name for name in self.losses if name != CRITIC)


class TrainConfig(_Table):
    """A whole training.

    Attributes:
        model: what is trained.
        init: weight file, or the name of one that comes with the package, whose networks training
            starts from.
        samples: what the model is trained on.
        stages: one after the other.
        seed: of weights and samples; the same seed, data, and device give the same weights.
        precision: of the networks: ``"32-true"`` or ``"bf16-mixed"`` (autocast).
        ema: decay per step of the moving average of the weights.
        compile: run the networks through ``torch.compile``.
        checkpoint_every, validate_every: steps.
        validate_on: number of held-out brains of a validation; the last one takes all.
    """

    model: AnyConfig = DALConfig()
    init: str | None = None
    samples: SampleConfig = SampleConfig()
    stages: tuple[StageConfig, ...] = Field(min_length=1)
    seed: int = 0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    ema: Share = 0.995
    compile: bool = False
    checkpoint_every: PositiveInt = 100
    validate_every: PositiveInt = 500
    validate_on: PositiveInt = 4

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        kind = self.model.kind
        for stage in self.stages:
            for what, asked, known in (
                ("networks", stage.trains, PARTS_OF[kind]),
                ("losses", stage.losses, LOSS_NAMES[kind]),
            ):
                if unknown := set(asked) - set(known):
                    names = ", ".join(known)
                    raise ValueError(
                        f"stage {stage.name}: unknown {what} {sorted(unknown)}; there are {names}"
                    )
        if isinstance(self.model, AutoencoderConfig):
            _check_autoencoder(self.model, self.samples, self.stages)
        if self.compile and any(stage.critic_steps for stage in self.stages):
            raise ValueError(
                "a critic's slope has no derivative under torch.compile: compile = false"
            )
        return self

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)


def _check_autoencoder(
    model: AutoencoderConfig, samples: SampleConfig, stages: tuple[StageConfig, ...]
) -> None:
    if samples.lesions or samples.contrasts != 1:
        raise ValueError(
            "an autoencoder learns healthy brains of one contrast: [samples] lesions = 0.0 and "
            "contrasts = 1"
        )
    if model.code != "variational" and any("kl" in stage.losses for stage in stages):
        raise ValueError('the loss kl is for a model with code = "variational"')


def recipe_names() -> list[str]:
    """Configurations that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_config(source: str | Path) -> TrainConfig:
    """A configuration by the path of its file, or by the name of one that comes with the package.

    Raises:
        InputError: ``config`` with every mistake in it.
    """
    path = Path(source)
    if not path.suffix and not path.is_file():
        path = RECIPES / f"{source}.toml"
    try:
        return TrainConfig.model_validate(tomllib.loads(path.read_text()))
    except OSError:
        names = ", ".join(recipe_names())
        raise InputError(
            Code.CONFIG, f"{source} is neither a TOML file nor one of the recipes {names}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(Code.CONFIG, f"{path} is not TOML: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(_in_words(e["loc"], e["type"], e["msg"]) for e in error.errors())
        raise InputError(Code.CONFIG, f"{path}: {wrong}") from None


def _in_words(place: tuple[int | str, ...], kind: str, message: str) -> str:
    """A mistake of a recipe; stages are counted from 1."""
    names = [str(part + 1) if isinstance(part, int) else part for part in place]
    what = {"extra_forbidden": "there is no such key", "missing": "the key is missing"}
    said = what.get(kind, message.removeprefix("Value error, "))
    return f"{'.'.join(names)}: {said}" if names else said
