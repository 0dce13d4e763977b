"""How an export keeps or breaks the contract of its signatures."""

from collections.abc import Mapping

from components.features import IMAGE_HEIGHT, IMAGE_WIDTH, NUM_CLASSES
from registry.signatures import Signature, TensorForm, required_signatures

SIGNATURES: Mapping[str, Signature] = required_signatures(IMAGE_HEIGHT, IMAGE_WIDTH, NUM_CLASSES)
"""All signatures that an export must have. It may have more, and they may have more outputs."""


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
