"""The signatures of an exported model: the contract of exporter, gate, servers and clients (docs/serving.md)."""

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_MODEL_NAME = "digits"
# TF Serving's own.
DEFAULT_REST_PORT = 8501
DEFAULT_GRPC_PORT = 8500
MODELS_PATH = "/v1/models"
"""Path of the models in the REST API."""

SERVING_DEFAULT = "serving_default"
"""Classifies encoded images of any size."""
PIXELS = "pixels"
"""Classifies normalized images, pixels from 0 to 255."""
EXAMPLES = "examples"
"""Classifies serialized raw tf.Examples."""
NORMALIZE = "normalize"
"""Converts encoded images to the normalized images that `pixels` accepts."""

IMAGE_BYTES_INPUT = "image_bytes"
IMAGE_INPUT = "image"
EXAMPLES_INPUT = "examples"
INPUTS: Mapping[str, str] = {
    SERVING_DEFAULT: IMAGE_BYTES_INPUT,
    PIXELS: IMAGE_INPUT,
    EXAMPLES: EXAMPLES_INPUT,
    NORMALIZE: IMAGE_BYTES_INPUT,
}
"""The only input of each signature."""

MAX_BATCH: Mapping[str, int] = {SERVING_DEFAULT: 256, PIXELS: 2048, EXAMPLES: 2048, NORMALIZE: 256}
"""Maximum number of images in a request to each signature; one core classifies them in less than a second."""

MAX_PIXELS = 16_000_000
"""Pixels of the largest image, and of all images of a request: 16 megapixels."""
SHORTEST_SIDE = 32
"""A shorter side of an image counts as this long for `MAX_PIXELS`: decoders work on blocks and rows."""

NORMALIZED_IMAGE_OUTPUT = "image"

LABEL_OUTPUT = "label"
"""Name of the most probable class; empty for an image with the status `blank`."""
CLASSES_OUTPUT = "classes"
"""Names of all classes, the same for each image, in the order of `probabilities`."""
PROBABILITIES_OUTPUT = "probabilities"
CONFIDENCE_OUTPUT = "confidence"
STATUS_OUTPUT = "status"
ANSWER_OUTPUTS = (LABEL_OUTPUT, CLASSES_OUTPUT, PROBABILITIES_OUTPUT, CONFIDENCE_OUTPUT, STATUS_OUTPUT)

DIGIT_OUTPUT = "digit"
"""The most probable class of versions that were pushed before `label` existed, int64[n], -1 if blank."""

STATUS_OK = "ok"
STATUS_BLANK = "blank"
STATUS_UNSURE = "unsure"
"""The label is more likely wrong than right, or the image looks like none of the classes: do not rely on the label."""


@dataclass(frozen=True)
class TensorForm:
    """Data type and shape of a tensor.

    Attributes:
        dtype: TensorFlow's name of the type, such as `float32`.
        shape: Size of each dimension, None where it varies; None if even the rank is unknown.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype}[…]"
        return f"{self.dtype}[{','.join('n' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a signature by name."""

    inputs: Mapping[str, TensorForm]
    outputs: Mapping[str, TensorForm]


def required_signatures(height: int, width: int, channels: int, num_classes: int) -> dict[str, Signature]:
    """Returns the signatures that an export must have. It may have more, and they may have more outputs.

    Args:
        height: Rows of a normalized image.
        width: Columns of a normalized image.
        channels: 1 for gray images, which have no axis for it, or 3 for color images.
        num_classes: Entries of `classes` and `probabilities`.
    """
    strings = TensorForm("string", (None,))
    images = TensorForm("float32", (None, height, width) if channels == 1 else (None, height, width, channels))
    answers = {
        LABEL_OUTPUT: strings,
        CLASSES_OUTPUT: TensorForm("string", (None, num_classes)),
        PROBABILITIES_OUTPUT: TensorForm("float32", (None, num_classes)),
        CONFIDENCE_OUTPUT: TensorForm("float32", (None,)),
        STATUS_OUTPUT: strings,
    }
    return {
        name: Signature(
            inputs={input_name: images if name == PIXELS else strings},
            outputs={NORMALIZED_IMAGE_OUTPUT: images} if name == NORMALIZE else answers,
        )
        for name, input_name in INPUTS.items()
    }
