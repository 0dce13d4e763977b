"""Draws in characters what the model saw."""

import numpy as np

_SHADES = " ░▒▓█"
_MAX_INK = 255
# A character is about twice as high as it is wide.
_CHARACTERS_PER_PIXEL = 2


def render(image: np.ndarray) -> str:
    """Draws an image with shade characters.

    Args:
        image: Numbers [height,width], 0 background to 255 ink.

    Returns:
        A framed drawing, two characters per pixel, without a line break at its end.
    """
    levels = np.rint(np.clip(image, 0, _MAX_INK) / _MAX_INK * (len(_SHADES) - 1)).astype(int)
    rows = ["".join(_SHADES[level] * _CHARACTERS_PER_PIXEL for level in row) for row in levels]
    edge = "─" * (_CHARACTERS_PER_PIXEL * levels.shape[1])
    return "\n".join([f"┌{edge}┐", *(f"│{row}│" for row in rows), f"└{edge}┘"])
