"""How far two answers to the same request are apart, and in what."""

from collections.abc import Mapping

import numpy as np

from components.serving_check.contract import SIGNATURES

Outputs = Mapping[str, np.ndarray]
"""The outputs of the contract by name, a row for each image."""


def compare(found: Outputs, expected: Outputs, tolerance: float) -> tuple[float, str]:
    """Compares outputs with those expected.

    Args:
        found: Outputs of one loader or request.
        expected: Those that they must equal: numbers within `tolerance`, digits and texts exactly.
        tolerance: The most that a number may differ.

    Returns:
        The largest absolute difference of any number, infinite where the shapes differ or only one is a number; and
        in what the outputs are not those expected, empty where they are.
    """
    compared = [_compare(name, found[name], expected[name], tolerance) for name in sorted(expected)]
    return max(difference for difference, _ in compared), next((reason for _, reason in compared if reason), "")


def misshapen(signature: str, outputs: Outputs, num_images: int) -> str:
    """Says which output has not the shape that the contract asks for; empty where all have.

    Args:
        signature: Which one, of the contract.
        outputs: What it answered.
        num_images: How many images were sent.
    """
    for name, form in SIGNATURES[signature].outputs.items():
        expected = [num_images if size is None else size for size in form.shape or ()]
        if list(outputs[name].shape) != expected:
            return f"{name} has the shape {list(outputs[name].shape)}, expected {expected}"
    return ""


def _compare(name: str, found: np.ndarray, expected: np.ndarray, tolerance: float) -> tuple[float, str]:
    if found.shape != expected.shape:
        return np.inf, f"{name} has the shape {list(found.shape)}, expected {list(expected.shape)}"
    difference, wrong = 0.0, found != expected
    if expected.dtype.kind == "f":
        differences = _differences(found, expected)
        difference, wrong = float(differences.max(initial=0)), differences > tolerance
    if not wrong.any():
        return difference, ""
    place = tuple(np.argwhere(wrong)[0])
    return difference, f"{name} of image {place[0]} is {_text(found[place])}, expected {_text(expected[place])}"


def _differences(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    differences = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    # Whether an answer may be no number at all is another question.
    differences[np.isnan(found) & np.isnan(expected)] = 0
    return np.nan_to_num(differences, nan=np.inf)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else f"{value:.6g}"
