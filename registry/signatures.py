"""The signatures of an exported model: the contract of exporter, gate, servers and clients (docs/serving.md)."""

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_MODEL_NAME = "digits"
# TF Serving's own.
DEFAULT_REST_PORT = 8501
DEFAULT_GRPC_PORT = 8500

SERVING_DEFAULT = "serving_default"
"""Classifies encoded images of any size, polarity and position."""
PIXELS = "pixels"
"""Classifies normalized images, 0 background to 255 ink."""
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

NORMALIZED_IMAGE_OUTPUT = "image"

PROBABILITIES_OUTPUT = "probabilities"
DIGIT_OUTPUT = "digit"
CONFIDENCE_OUTPUT = "confidence"
STATUS_OUTPUT = "status"
ANSWER_OUTPUTS = (PROBABILITIES_OUTPUT, DIGIT_OUTPUT, CONFIDENCE_OUTPUT, STATUS_OUTPUT)

STATUS_OK = "ok"
STATUS_BLANK = "blank"
STATUS_LOW_CONFIDENCE = "low_confidence"
BLANK_DIGIT = -1
"""The `digit` of an image with the status `blank`."""


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


def required_signatures(height: int, width: int, num_classes: int) -> dict[str, Signature]:
    """Returns the signatures that an export must have. It may have more, and they may have more outputs.

    Args:
        height: Rows of a normalized image.
        width: Columns of a normalized image.
        num_classes: Entries of `probabilities`.
    """
    strings, images = TensorForm("string", (None,)), TensorForm("float32", (None, height, width))
    answers = {
        PROBABILITIES_OUTPUT: TensorForm("float32", (None, num_classes)),
        DIGIT_OUTPUT: TensorForm("int64", (None,)),
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
