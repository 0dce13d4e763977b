"""Chooses classes, image size and preparation for a data set, as `digits new` proposes them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from components.example_gen.splits import SplitFractions, split_sizes
from components.features import SPLITS, TEST_SPLIT, TRAIN_SPLIT, Contract
from pipeline.settings.settings import PROFILES, DataSettings
from pipeline.settings.survey import Survey
from registry.errors import UsageError

_MIN_SIDE, _MAX_SIDE = 8, 128

# Largest deviations from what MNIST's preparation produces: ink with a longest side of 20 of 28 pixels, whose center of
# mass is in the center.
_INK_SIDE = 20 / 28
_INK_SIDE_TOLERANCE = 0.1
_CENTER_TOLERANCE = 0.06
_MIN_BACKGROUND = 0.5
_MOST = 0.95

_MAX_LISTED = 10

Sizes = Mapping[str, Mapping[str, int]]
"""By split, the number of images of each class."""


class ProposalError(UsageError):
    """An option does not fit the data, or the data is too small to train and test a model."""


@dataclass(frozen=True)
class Choice:
    """A chosen value, and why it was chosen."""

    subject: str
    value: str
    reason: str


@dataclass(frozen=True)
class Proposal:
    """What is proposed for a data set.

    Attributes:
        survey: What the data contains.
        contract: Classes, size and channels.
        preparation: How images in requests are prepared: `trainer.preparation`.
        choices: What was chosen, and why, to print.
    """

    survey: Survey
    contract: Contract
    preparation: Literal["ink", "resize"]
    choices: tuple[Choice, ...]

    @cached_property
    def sizes(self) -> Sizes:
        """The size of each split if all images are used."""
        return _split_sizes(self.survey, self.contract, max_images=0)

    @cached_property
    def smoke_sizes(self) -> Sizes:
        """The size of each split in the smoke profile, which limits the number of images."""
        return _split_sizes(self.survey, self.contract, PROFILES["smoke"]["data"]["max_images"])


def propose(
    survey: Survey,
    *,
    classes: tuple[str, ...] | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> Proposal:
    """Chooses the contract and the preparation that fit a data set.

    Args:
        survey: What the data contains.
        classes: The classes in the order of their indices; default: numbers by their values, names by the alphabet.
        size: Height and width; default: that of the images.
        channels: 1 for gray, 3 for color; default: 3 if any image is in color.

    Raises:
        ProposalError: `classes` are not those of the data, or one has no images for train or test.
    """
    contract = Contract(
        _checked_classes(survey, classes), *(size or _size(survey)), channels or (3 if survey.has_color else 1)
    )
    obstacle = _obstacle_to_ink(survey, contract)
    numbers = all(map(str.isdecimal, contract.classes))
    given = "as given"
    color = "at least one image is in color" if survey.has_color else "no image is in color"
    choices = (
        Choice(
            "classes",
            f"{len(contract.classes)}: {listed(contract.classes)}",
            given if classes else f"in {'numerical' if numbers else 'alphabetical'} order",
        ),
        Choice("size", f"{contract.height} x {contract.width} pixels", given if size else _describe_sizes(survey)),
        Choice("colors", "gray" if contract.channels == 1 else "color", given if channels else color),
        Choice(
            "preparation",
            "resize" if obstacle else "ink",
            f"of images in requests: {obstacle or 'light ink on black, centered and scaled as in MNIST'}",
        ),
    )
    proposal = Proposal(survey, contract, "resize" if obstacle else "ink", choices)
    for split in (TRAIN_SPLIT, TEST_SPLIT):
        for label, num_images in proposal.sizes[split].items():
            if not num_images:
                raise ProposalError(_too_few_images(survey, label, split))
    return proposal


def listed(names: tuple[str, ...]) -> str:
    """Lists the first names."""
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def _checked_classes(survey: Survey, classes: tuple[str, ...] | None) -> tuple[str, ...]:
    if classes is None:
        return survey.classes
    unknown = tuple(sorted(set(survey.classes) - set(classes)))
    without_images = tuple(sorted(set(classes) - set(survey.classes)))
    if unknown:
        raise ProposalError(f"--classes: the data also has images of {listed(unknown)}; add these classes.")
    if without_images:
        fix = "leave these classes out, or add images"
        raise ProposalError(f"--classes: the data has no images of {listed(without_images)}; {fix}.")
    return classes


def _size(survey: Survey) -> tuple[int, int]:
    height, width = np.median(survey.sizes, axis=0)
    reduction = min(1.0, _MAX_SIDE / max(height, width))
    if (survey.sizes == survey.sizes[0]).all() and reduction == 1 and min(height, width) >= _MIN_SIDE:
        return int(height), int(width)
    rows, columns = (max(_MIN_SIDE, 8 * round(side * reduction / 8)) for side in (height, width))
    return rows, columns


def _describe_sizes(survey: Survey) -> str:
    (height, width), (most_height, most_width) = survey.sizes.min(axis=0), survey.sizes.max(axis=0)
    smallest, largest = f"{height} x {width}", f"{most_height} x {most_width}"
    if smallest == largest:
        return f"all images are {smallest}"
    return f"the median size of the images, {smallest} to {largest}, at most {_MAX_SIDE} per side"


def _obstacle_to_ink(survey: Survey, contract: Contract) -> str:
    """Returns why MNIST's preparation would change what the network sees, or an empty text if it would not."""
    if contract.channels > 1:
        return "the images are in color"
    if contract.height != contract.width or (survey.sizes[:, 0] != survey.sizes[:, 1]).any():
        return "the images are not square"
    ink = {key: values for key, values in survey.summaries.items() if key.startswith("ink_")}
    sides = np.maximum(ink["ink_bottom"] - ink["ink_top"], ink["ink_right"] - ink["ink_left"])
    off_center = np.maximum(np.abs(ink["ink_center_y"] - 0.5), np.abs(ink["ink_center_x"] - 0.5))
    # Comparisons with NaN are false: an image without ink counts against ink.
    if np.mean(survey.summaries["background_share"] >= _MIN_BACKGROUND) < _MOST:
        return "the images are not light ink on black"
    if np.mean(off_center <= _CENTER_TOLERANCE) < _MOST or abs(np.nanmedian(sides) - _INK_SIDE) > _INK_SIDE_TOLERANCE:
        return "the ink is not centered and scaled as in MNIST"
    return ""


def _split_sizes(survey: Survey, contract: Contract, max_images: int) -> Sizes:
    data = DataSettings()
    fractions = SplitFractions(eval=data.eval_fraction, test=data.test_fraction)
    sizes = split_sizes(survey.counts, fractions, max_images)
    return {
        split: {
            label: sum(by_split.get(split, 0) for (_, of), by_split in sizes.items() if of == label)
            for label in contract.classes
        }
        for split in SPLITS
    }


def _too_few_images(survey: Survey, label: str, split: str) -> str:
    found = {origin: num_images for (origin, of), num_images in survey.counts.items() if of == label}
    if "all" in found:
        fix = f"add images, at least {math.ceil(1 / DataSettings().test_fraction)} in all"
        return f"Class {label!r} has {found['all']} image(s), which leaves none for {split}; {fix}."
    return f"Class {label!r} has no images in {split}; add some, or remove the class."
