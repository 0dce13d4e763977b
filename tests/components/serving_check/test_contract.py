from dataclasses import replace

import pytest

from components.serving_check.contract import SIGNATURES, breach, input_name
from registry.signatures import Signature, TensorForm

PIXELS = SIGNATURES["pixels"]


def without(names: dict[str, TensorForm], name: str) -> dict[str, TensorForm]:
    return {key: form for key, form in names.items() if key != name}


def test_every_signature_has_its_input() -> None:
    assert {name: input_name(name) for name in SIGNATURES} == {
        "serving_default": "image_bytes",
        "pixels": "image",
        "examples": "examples",
        "normalize": "image_bytes",
    }


def test_a_signature_that_keeps_the_contract_may_answer_more() -> None:
    more = replace(PIXELS, outputs={**PIXELS.outputs, "embedding": TensorForm("float32", (None, 128))})
    assert breach(PIXELS, PIXELS) == breach(PIXELS, more) == ""


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "there is no such signature"),
        (
            replace(PIXELS, outputs=without(dict(PIXELS.outputs), "confidence")),
            "it lacks the output 'confidence', float32[n]",
        ),
        (
            replace(PIXELS, inputs={"images": PIXELS.inputs["image"]}),
            "it lacks the input 'image', float32[n,28,28]; it also asks for the input 'images'",
        ),
        (
            replace(PIXELS, outputs={**PIXELS.outputs, "digit": TensorForm("int32", (None,))}),
            "the output 'digit' is int32[n], expected int64[n]",
        ),
        (
            replace(PIXELS, outputs={**PIXELS.outputs, "probabilities": TensorForm("float32", (None, 9))}),
            "the output 'probabilities' is float32[n,9], expected float32[n,10]",
        ),
        (
            Signature({"image": TensorForm("float32", None)}, PIXELS.outputs),
            "the input 'image' is float32[…], expected float32[n,28,28]",
        ),
    ],
)
def test_breaches(found: Signature | None, reason: str) -> None:
    assert breach(PIXELS, found) == reason
