"""Hyperparameters of the training: the `trainer` section of the settings, which `run_fn` receives as JSON."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

HYPERPARAMETERS_KEY = "hyperparameters"
"""Key of the hyperparameters in `custom_config`."""
SEARCH_KEY = "search"
"""Key of the search in `custom_config`."""

NO_AUGMENTATION: Mapping[str, float] = dict.fromkeys(("rotation", "zoom", "shear", "shift", "disturbed_share"), 0.0)
"""Hyperparameters that turn augmentation off."""


class Search(BaseModel):
    """Budget and folder of a search for hyperparameters, which `tuner_fn` receives as JSON.

    Attributes:
        folder: Where KerasTuner records trials, to resume the search.
        max_trials: Trials in all, with those of earlier attempts.
        max_seconds: Training time of all trials together, divided by `parallel`; None for no limit.
        parallel: Trials at a time; None for `components.trainer.trials.default_parallel`.
        max_images: Images of train that a trial uses; None for all.
        fixed: Hyperparameters that are not searched.
        code: Fingerprint of the code; trials of other code do not count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = ""
    max_trials: int = Field(20, ge=1)
    max_seconds: float | None = Field(None, gt=0)
    parallel: int | None = Field(None, ge=1)
    max_images: int | None = Field(None, ge=1)
    fixed: tuple[str, ...] = ()
    code: str = ""


class Hyperparameters(BaseModel):
    """Settings of one training.

    The defaults were chosen on the eval split; benchmarks/README.md has the results on test.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: int = Field(7, ge=1, description="Maximum passes over the train split; early stopping may end sooner.")
    batch_size: int = Field(128, ge=1, description="Images per step and device.")
    learning_rate: float = Field(0.01, gt=0, description="Peak of the warm-up and cosine decay schedule.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled weight decay.")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Share of each label spread over all classes.")
    patience: int = Field(4, ge=1, description="Epochs without a better eval loss before training stops.")
    width: int = Field(
        64, ge=2, description="Filters of the last convolutions; those before have at most half of them."
    )
    depth: int = Field(2, ge=0, description="Residual blocks of two convolutions.")
    rotation: float = Field(10.0, ge=0, le=180, description="Augmentation: largest rotation, in degrees.")
    zoom: float = Field(0.15, ge=0, lt=1, description="Augmentation: largest relative change of width or height.")
    shear: float = Field(0.2, ge=0, lt=1, description="Augmentation: largest horizontal shear, as a tangent.")
    shift: float = Field(1.5, ge=0, description="Augmentation: largest shift along each axis, in 28ths of its length.")
    disturbed_share: float = Field(
        0.4,
        ge=0,
        le=1,
        description="Augmentation: initial share of images that may be blurred, occluded and so on; it falls linearly "
        "to zero.",
    )
    drawn_ones_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Synthetic images of the digit 1, with an upstroke, a serif or a base, that are added to "
        "train, as a share of its images. Only with the preparation `ink` and a class `1`.",
    )
    preparation: Literal["ink", "resize"] = Field(
        "ink",
        description="Preparation of images in requests, and augmentation to match: `ink` if the data looks like MNIST "
        "(gray; light strokes on black, scaled and centered), `resize` for everything else.",
    )
    unsure_share: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="Share of in-distribution images that may have the status `unsure`. A larger share detects more "
        "out-of-distribution images; 0 detects none.",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of weights, order and augmentation.")
