"""What clients rely on: the signatures of the exported model, stated apart from the code that exports it."""

from collections.abc import Mapping
from dataclasses import dataclass

from components.features import IMAGE_HEIGHT, IMAGE_WIDTH, NUM_CLASSES

SERVING_DEFAULT = "serving_default"
PIXELS = "pixels"
EXAMPLES = "examples"
NORMALIZE = "normalize"

PROBABILITIES = "probabilities"
DIGIT = "digit"
NORMALIZED_IMAGE = "image"


@dataclass(frozen=True)
class TensorForm:
    """Data type and shape of a tensor.

    Attributes:
        dtype: TensorFlow's name of the type, such as `float32`.
        shape: Sizes of the dimensions, None where a request decides; None as a whole where even their number is open.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype}[…]"
        return f"{self.dtype}[{','.join('n' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True)
class Signature:
    """Names and forms of what a signature takes and gives."""

    inputs: Mapping[str, TensorForm]
    outputs: Mapping[str, TensorForm]


ANSWERS: Mapping[str, TensorForm] = {
    PROBABILITIES: TensorForm("float32", (None, NUM_CLASSES)),
    DIGIT: TensorForm("int64", (None,)),
    "confidence": TensorForm("float32", (None,)),
    "status": TensorForm("string", (None,)),
}
"""What every signature answers that is asked for digits."""

SIGNATURES: Mapping[str, Signature] = {
    SERVING_DEFAULT: Signature({"image_bytes": TensorForm("string", (None,))}, ANSWERS),
    PIXELS: Signature({"image": TensorForm("float32", (None, IMAGE_HEIGHT, IMAGE_WIDTH))}, ANSWERS),
    EXAMPLES: Signature({"examples": TensorForm("string", (None,))}, ANSWERS),
    NORMALIZE: Signature(
        {"image_bytes": TensorForm("string", (None,))},
        {NORMALIZED_IMAGE: TensorForm("float32", (None, IMAGE_HEIGHT, IMAGE_WIDTH))},
    ),
}
"""All signatures that an export must have. It may have more, and they may answer more."""


def input_name(signature: str) -> str:
    """Returns the name of the one input of a signature."""
    (name,) = SIGNATURES[signature].inputs
    return name


def breach(expected: Signature, found: Signature | None) -> str:
    """Says how a signature breaks the contract; empty where it keeps it."""
    if found is None:
        return "there is no such signature"
    breaches = _breaches("input", expected.inputs, found.inputs) + _breaches("output", expected.outputs, found.outputs)
    breaches += [f"it also asks for the input {name!r}" for name in found.inputs if name not in expected.inputs]
    return "; ".join(breaches)


def _breaches(kind: str, expected: Mapping[str, TensorForm], found: Mapping[str, TensorForm]) -> list[str]:
    missing = [f"it lacks the {kind} {name!r}, {form}" for name, form in expected.items() if name not in found]
    different = [
        f"the {kind} {name!r} is {found[name]}, expected {form}"
        for name, form in expected.items()
        if name in found and found[name] != form
    ]
    return missing + different
