"""Summary features of images, so that TFDV sees what is in them and its comparators can gate it."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.features import (
    BACKGROUND_SHARE_KEY,
    BRIGHTNESS_DEVIATION_KEY,
    BRIGHTNESS_MEAN_KEY,
    LUMA_WEIGHTS,
    MAX_PIXEL,
    SATURATED_SHARE_KEY,
)

MIN_INK = 32
"""Minimum luminance of ink."""

# In thousandths: whole numbers keep black at 0 and white at 255.
_LUMA_WEIGHTS = np.rint(1000 * np.array(LUMA_WEIGHTS)).astype(np.float32)


def summarize(images: NDArray[np.uint8], *, with_ink: bool) -> dict[str, pa.Array]:
    """Computes the summary features of images of the same size; docs/data.md defines them.

    Args:
        images: uint8[n,height,width,channels], one or three channels.
        with_ink: Whether to compute the features of the ink.

    Returns:
        By name of the feature, int64[n] or float32[n]; the features of the ink are null for an image without ink.
    """
    num_images, height, width, num_channels = images.shape
    luminance = _luminance(images)
    pixels = luminance.reshape(num_images, height * width)
    columns = {
        "height": np.full(num_images, height),
        "width": np.full(num_images, width),
        "channels": np.where(_is_gray(images), 1, num_channels),
        BRIGHTNESS_MEAN_KEY: pixels.mean(axis=1, dtype=np.float64).astype(np.float32),
        BRIGHTNESS_DEVIATION_KEY: pixels.std(axis=1),
        BACKGROUND_SHARE_KEY: (pixels == 0).mean(axis=1, dtype=np.float32),
        SATURATED_SHARE_KEY: (pixels == MAX_PIXEL).mean(axis=1, dtype=np.float32),
    }
    summaries = {name: pa.array(values) for name, values in columns.items()}
    if with_ink:
        without_ink = pixels.max(axis=1, initial=0) < MIN_INK
        along_rows_and_columns = (
            ("ink_top", "ink_bottom", "ink_center_y"),
            ("ink_left", "ink_right", "ink_center_x"),
        )
        for axis, names in enumerate(along_rows_and_columns, start=1):
            measured = zip(names, _ink_along(luminance, axis), strict=True)
            summaries |= {name: pa.array(values.astype(np.float32), mask=without_ink) for name, values in measured}
    return summaries


def without_alpha(images: NDArray[np.uint8], *, with_ink_in_alpha: bool) -> NDArray[np.uint8]:
    """Draws images with alpha on white, as the model does with those in requests.

    Args:
        images: uint8[n,height,width,channels], one to four channels; the second or fourth is alpha.
        with_ink_in_alpha: Whether images are light ink on black: if all that is visible has one color, the ink is what
            is not transparent.

    Returns:
        uint8[n,height,width,1] or uint8[n,height,width,3].
    """
    if images.shape[-1] in (1, 3):
        return images
    colors, opacity = images[..., :-1], images[..., -1:]
    alpha = opacity / np.float32(MAX_PIXEL)
    drawn = np.rint(MAX_PIXEL + (colors - np.float32(MAX_PIXEL)) * alpha).astype(np.uint8)
    if not with_ink_in_alpha:
        return drawn
    luminance = _luminance(colors)[..., np.newaxis]
    axes = (1, 2, 3)
    darkest = luminance.min(axis=axes, initial=MAX_PIXEL, where=opacity > 0, keepdims=True)
    lightest = luminance.max(axis=axes, initial=0, where=opacity > 0, keepdims=True)
    has_ink = (lightest - darkest < MIN_INK) & (opacity.min(axis=axes, keepdims=True) == 0)
    return np.where(has_ink, opacity, drawn)


def _luminance(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    if images.shape[-1] == 1:
        return images[..., 0].astype(np.float32)
    return images.astype(np.float32) @ _LUMA_WEIGHTS / _LUMA_WEIGHTS.sum()


def _is_gray(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    if images.shape[-1] == 1:
        return np.full(len(images), True)
    return np.asarray((images[..., 1:] == images[..., :1]).all(axis=(1, 2, 3)))


def _ink_along(luminance: NDArray[np.float32], axis: int) -> tuple[NDArray[np.float64], ...]:
    """Returns the edges of the ink and its center of mass along an axis, each [n] as a share of the axis."""
    length = luminance.shape[axis]
    has_ink = np.asarray(luminance.max(axis=3 - axis) >= MIN_INK)
    mass = luminance.sum(axis=3 - axis)
    # A black image has no center; its value is not used.
    center = mass @ (np.arange(length) + 0.5) / np.maximum(mass.sum(axis=1), 1)
    start, end = has_ink.argmax(axis=1), length - has_ink[:, ::-1].argmax(axis=1)
    return start / length, end / length, center / length
