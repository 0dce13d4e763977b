"""Writes a proposal as the two files of a model: `schema.pbtxt` and `digits.toml`."""

import json
import math
from collections.abc import Iterator, Mapping

import numpy as np

from components.data_gate.limits import DataLimits
from components.features import (
    BACKGROUND_SHARE_KEY,
    BRIGHTNESS_DEVIATION_KEY,
    BRIGHTNESS_MEAN_KEY,
    EVAL_SPLIT,
    SPLITS,
    TEST_SPLIT,
    TRAIN_SPLIT,
)
from components.intervals import images_needed, paired_interval, precision_change_interval, share_interval
from components.trainer.hyperparameters import Hyperparameters
from pipeline.settings.gates import EvaluationSettings, RobustnessSettings
from pipeline.settings.proposal import Proposal

# Training processes at least this many images, even if few of them are distinct.
_MIN_IMAGES_SEEN = 40_000
_FEW_IMAGES = 1_000

# With this accuracy, a model passes the default bounds on a test set that is large enough for them.
_GOOD_ACCURACY, _GOOD_CLASS_ACCURACY = 0.995, 0.985
# On a smaller test set, a model passes with these shares of mistakes, and at least with this number.
_MISTAKES, _CLASS_MISTAKES = 0.05, 0.15
_MIN_MISTAKES = 3

# The other features have few different values, or one odd image moves their histograms: data/schema.pbtxt.
_COMPARED = (
    BRIGHTNESS_MEAN_KEY,
    BRIGHTNESS_DEVIATION_KEY,
    BACKGROUND_SHARE_KEY,
    "ink_center_y",
    "ink_center_x",
)
# The distance between samples of the same distribution grows with the inverse of their size: TFDV's Jensen-Shannon
# divergence of 64 images from 700 is 0.02 to 0.09, of 10 from 70 up to 0.5.
_DISTANCE, _LABEL_DISTANCE = 0.2, 0.1
_CHANCE, _LABEL_CHANCE = 5, 2

# RobustnessEvaluator tests a sample of this size.
_CORRUPTED_IMAGES = 1_000

# Shares below these say nothing about a data set.
_LEAST_BACKGROUND, _LEAST_SATURATED = 0.1, 0.002

_PRESENT = "presence { min_fraction: 1.0 min_count: 1 }\n  shape {}"

_SCHEMA = """\
# The schema of the raw examples of {name}, written by `digits new` from {num_images:,} images.
# The comparators limit the distance of eval and test from train (skew), and of train from the last data that passed
# (drift).
feature {{
  name: "image"
  type: BYTES
  presence {{ min_fraction: 1.0 min_count: 1 }}
  shape {{}}
  image_domain {{}}
  # The size in which the network sees the images.
  annotation {{ tag: "height: {height}" tag: "width: {width}" tag: "channels: {channels}" }}
}}
feature {{
  name: "label"
  type: BYTES
  presence {{ min_fraction: 1.0 min_count: 1 }}
  shape {{}}
  # The classes in the order of their indices.
  string_domain {{
    name: "class"
    is_categorical: CATEGORICAL_YES
{classes}
  }}
  skew_comparator {{ infinity_norm {{ threshold: {label_skew} }} }}
  drift_comparator {{ infinity_norm {{ threshold: {label_drift} }} }}
}}
"""

_SETTINGS = """\
# Settings of {name}, written by `digits new` from {num_images:,} images. Paths are relative to the folder of this file.
# Settings that are not here have the defaults of the profile: docs/run.md.
name = "{name}"

[data]
uri = {uri}
schema_file = "schema.pbtxt"

[trainer]
# Preparation of images in requests: `ink` as for MNIST's digits, `resize` as in training.
preparation = "{preparation}"
{training}
[data_gate]
# Half the mean shares of black and of white pixels; 0 switches a bound off.
{appearance}{data_gate}
{evaluation}[robustness]
# Bounds for a first model. Tighten them to what a good one reaches on corrupted images.
{sample_fraction}min_mean_accuracy = 0.4
min_accuracy = 0.0
max_mean_drop = 0.4
max_drop = 0.9
"""


def schema_text(proposal: Proposal, name: str) -> str:
    """Returns the schema in text format.

    Args:
        proposal: What to write.
        name: Name of the model.
    """
    contract = proposal.contract
    train, *others = (_total(proposal.smoke_sizes[split]) for split in (TRAIN_SPLIT, EVAL_SPLIT, TEST_SPLIT))
    text = _SCHEMA.format(
        name=name,
        num_images=proposal.survey.num_images,
        height=contract.height,
        width=contract.width,
        channels=contract.channels,
        classes="\n".join(f"    value: {_quoted(label)}" for label in contract.classes),
        label_skew=_up(_LABEL_DISTANCE + _LABEL_CHANCE / min(others) + _label_skew(proposal)),
        label_drift=_up(_LABEL_DISTANCE + _LABEL_CHANCE / train),
    )
    skew, drift = (_up(_DISTANCE + _CHANCE / num_images) for num_images in (min(others), train))
    return text + "".join(_summary_features(proposal, skew, drift))


def settings_text(proposal: Proposal, name: str, uri: str) -> str:
    """Returns the settings in TOML.

    Args:
        proposal: What to write.
        name: Name of the model.
        uri: The data, absolute or relative to the folder of the file.
    """
    return _SETTINGS.format(
        name=name,
        num_images=proposal.survey.num_images,
        uri=_quoted(uri),
        preparation=proposal.preparation,
        training=_assignments(_training(_total(proposal.sizes[TRAIN_SPLIT]))),
        appearance=_assignments(_appearance(proposal)),
        data_gate=_data_gate(proposal),
        evaluation=_evaluation_section(proposal),
        sample_fraction=_assignments(_sample_fraction(_total(proposal.sizes[TEST_SPLIT]))),
    )


def _summary_features(proposal: Proposal, skew: float, drift: float) -> Iterator[str]:
    num_channels = max(proposal.contract.channels, int(proposal.survey.summaries["channels"].max()))
    yield _feature("encoded_size", "type: INT", _PRESENT)
    for name, values in proposal.survey.summaries.items():
        known = values[~np.isnan(values)]
        is_ink = name.startswith("ink_")
        if is_ink and (proposal.contract.channels > 1 or not known.size):
            continue
        lines = ["value_count { min: 1 max: 1 }" if is_ink else _PRESENT]
        least, most = known.min(), known.max()
        if name in ("height", "width", "channels"):
            # If all images have one size, another is a mistake.
            low, high = (least, most) if least == most else (max(1, least // 2), 2 * most)
            low, high = (1, num_channels) if name == "channels" else (low, high)
            lines = ["type: INT", *lines, f"int_domain {{ min: {low:.0f} max: {high:.0f} }}"]
        else:
            high = {BRIGHTNESS_MEAN_KEY: 255, BRIGHTNESS_DEVIATION_KEY: 127.5}.get(name, 1)
            lines = ["type: FLOAT", *lines, f"float_domain {{ min: 0 max: {high} }}"]
            # A value that most images share says little, and differs between samples by chance.
            if name in _COMPARED and np.ptp(np.quantile(known, (0.25, 0.75))) > 0:
                for comparator, threshold in (("skew", skew), ("drift", drift)):
                    lines.append(
                        f"{comparator}_comparator {{ jensen_shannon_divergence {{ threshold: {threshold} }} }}"
                    )
        yield _feature(name, *lines)


def _feature(name: str, *lines: str) -> str:
    return "\n  ".join(["feature {", f'name: "{name}"', *lines]) + "\n}\n"


def _label_skew(proposal: Proposal) -> float:
    """Returns the largest difference of the share of a class in train from its share in eval or test."""
    shares = {
        split: np.array(list(sizes.values())) / max(_total(sizes), 1) for split, sizes in proposal.smoke_sizes.items()
    }
    return max(float(np.abs(shares[split] - shares[TRAIN_SPLIT]).max()) for split in (EVAL_SPLIT, TEST_SPLIT))


def _training(num_images: int) -> Mapping[str, float]:
    defaults = Hyperparameters()
    batch_size = 32 if num_images < _FEW_IMAGES else 64
    epochs = math.ceil(_MIN_IMAGES_SEEN / num_images)
    if epochs <= defaults.epochs:
        return {}
    values = {
        "epochs": epochs,
        "batch_size": batch_size,
        # The square root scaling rule of adaptive optimizers (Malladi et al. 2022, arXiv:2205.10287).
        "learning_rate": round(defaults.learning_rate * math.sqrt(batch_size / defaults.batch_size), 4),
        "patience": max(defaults.patience, epochs // 3),
    }
    # After 28 epochs on 708 color shapes, disturbed images lowered the test accuracy from 99 to 82 %.
    return values if num_images >= _FEW_IMAGES else values | {"disturbed_share": 0.0}


def _appearance(proposal: Proposal) -> Mapping[str, float]:
    summaries = proposal.survey.summaries
    background, saturated = (float(summaries[key].mean()) for key in ("background_share", "saturated_share"))
    return {
        "min_background": _down(background / 2) if background >= _LEAST_BACKGROUND else 0,
        "min_saturated": _down(saturated / 2, 4) if saturated >= _LEAST_SATURATED else 0,
    }


def _data_gate(proposal: Proposal) -> str:
    """Returns the minimum numbers of images that are below the defaults."""
    defaults = DataLimits()
    values: dict[str, int] = {}
    for split in SPLITS:
        sizes = proposal.smoke_sizes[split].values()
        halves = {f"min_{split}_examples": max(1, sum(sizes) // 2), f"min_{split}_class_examples": min(sizes) // 2}
        values |= {key: half for key, half in halves.items() if half < getattr(defaults, key)}
    comment = "# Half the images of the smoke profile, where this is below the defaults.\n" if values else ""
    return comment + _assignments(values)


def _sample_fraction(num_images: int) -> Mapping[str, float]:
    fraction = _CORRUPTED_IMAGES / num_images
    if fraction <= RobustnessSettings().sample_fraction:
        return {}
    return {"sample_fraction": min(1.0, _up(fraction))}


def _evaluation_section(proposal: Proposal) -> str:
    """Returns the bounds that differ from the defaults, because the test set is too small for those."""
    defaults, sizes, smoke_sizes = EvaluationSettings(), proposal.sizes[TEST_SPLIT], proposal.smoke_sizes[TEST_SPLIT]
    comments, values = [], {}
    needed = _needed(defaults.min_accuracy, _GOOD_ACCURACY)
    if _total(sizes) < needed:
        num_images = _total(smoke_sizes)
        mistakes = min(num_images, max(_MIN_MISTAKES, math.ceil(_MISTAKES * num_images)))
        comments += [
            f"# A model with {mistakes} mistakes on {num_images:,} test images passes. The default, "
            f"{defaults.min_accuracy}, needs about {needed:,}."
        ]
        values = {
            "min_accuracy": _down(share_interval(num_images - mistakes, num_images)[0]),
            "max_log_loss": 0.5,
            "max_calibration_error": 0.15,
            "max_accuracy_drop": min(1.0, _up(-paired_interval(0, mistakes, num_images)[0])),
            "max_log_loss_rise": 0.25,
            "max_calibration_error_rise": 0.15,
        }
    needed = _needed(defaults.min_class_accuracy, _GOOD_CLASS_ACCURACY)
    if min(sizes.values()) < needed:
        num_images = min(smoke_sizes.values())
        mistakes = min(num_images, max(_MIN_MISTAKES, math.ceil(_CLASS_MISTAKES * num_images)))
        comments += [
            f"# The rarest class has {num_images} test images, and may have {mistakes} mistakes. The default, "
            f"{defaults.min_class_accuracy}, needs about {needed:,} of each."
        ]
        precision_counts = np.array([[0, 0], [0, 0], [0, 0]], np.float64)
        precision_counts[:, 1] = (0, mistakes, num_images - mistakes)
        drops = (paired_interval(0, mistakes, num_images)[0], precision_change_interval(precision_counts)[0])
        values |= {
            "min_class_accuracy": _down(share_interval(num_images - mistakes, num_images)[0]) if num_images else 0.0,
            "max_class_drop": min(1.0, _up(-min(drops))),
        }
    return "\n".join(["[evaluation]", *comments, _assignments(values), ""]) if values else ""


def _needed(bound: float, accuracy: float) -> int:
    """Returns how many images a model with this accuracy needs to meet a bound."""
    needed = images_needed(lambda n: share_interval(math.floor(accuracy * n), n) if n else (0.0, 1.0), bound)
    return 100 * math.ceil((needed or 0) / 100)


def _total(sizes: Mapping[str, int]) -> int:
    return sum(sizes.values())


def _assignments(values: Mapping[str, float]) -> str:
    return "".join(f"{key} = {value}\n" for key, value in values.items())


def _quoted(text: str) -> str:
    """Returns a string of TOML or of the text format of protobuf."""
    return json.dumps(text, ensure_ascii=False)


def _down(value: float, digits: int = 2) -> float:
    return math.floor(value * 10**digits) / 10**digits


def _up(value: float, digits: int = 2) -> float:
    return math.ceil(round(value * 10**digits, 6)) / 10**digits
