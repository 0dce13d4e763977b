"""How far two answers to the same request are apart, and in what."""

from collections.abc import Mapping

import numpy as np

from components.serving_check.contract import ANSWERS

Outputs = Mapping[str, np.ndarray]
"""Outputs of a signature by name, a row for each image."""


def largest_difference(found: Outputs, expected: Outputs) -> float:
    """Returns the largest absolute difference of any number; infinite where the forms differ or only one is a number.

    Args:
        found: Outputs of one loader or request.
        expected: Those that it must equal.
    """
    if any(name not in found or found[name].shape != values.shape for name, values in expected.items()):
        return np.inf
    numbers = [name for name, values in expected.items() if values.dtype.kind == "f"]
    return max((float(_differences(found[name], expected[name]).max(initial=0)) for name in numbers), default=0.0)


def mismatch(found: Outputs, expected: Outputs, tolerance: float) -> str:
    """Says in what the outputs are not those expected; empty where they are.

    Args:
        found: Outputs of one loader or request.
        expected: Those that it must equal: numbers within `tolerance`, digits and texts exactly.
        tolerance: The most that a number may differ.
    """
    return next(filter(None, (_mismatch(name, found, expected[name], tolerance) for name in sorted(expected))), "")


def misshapen(outputs: Outputs, num_images: int) -> str:
    """Says which output has not the shape that the contract asks for; empty where all have.

    Args:
        outputs: What was answered.
        num_images: How many images were sent.
    """
    for name, form in ANSWERS.items():
        expected = [num_images if size is None else size for size in form.shape or ()]
        if list(outputs[name].shape) != expected:
            return f"{name} has the shape {list(outputs[name].shape)}, expected {expected}"
    return ""


def _mismatch(name: str, found: Outputs, expected: np.ndarray, tolerance: float) -> str:
    if name not in found:
        return f"there is no {name}"
    values = found[name]
    if values.shape != expected.shape:
        return f"{name} has the shape {list(values.shape)}, expected {list(expected.shape)}"
    wrong = _differences(values, expected) > tolerance if expected.dtype.kind == "f" else values != expected
    if not wrong.any():
        return ""
    place = tuple(np.argwhere(wrong)[0])
    return f"{name} of image {place[0]} is {_text(values[place])}, expected {_text(expected[place])}"


def _differences(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    differences = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    # Whether an answer may be no number at all is another question.
    differences[np.isnan(found) & np.isnan(expected)] = 0
    return np.nan_to_num(differences, nan=np.inf)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else f"{value:.6g}"
