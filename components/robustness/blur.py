"""Corruptions that smear ink: glass blur and motion blur."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from components.features import IMAGE_HEIGHT, IMAGE_SIZE, IMAGE_WIDTH, MAX_PIXEL
from components.robustness.pixels import Images, to_pixels, to_unit

GLASS_SIGMA = 0.7
"""Standard deviation of the blur before and after pixels are exchanged (mnist-c, `glass_blur`, severity 1)."""

GLASS_REACH = 1
"""How far a pixel is moved, up or left (the same)."""

GLASS_ROUNDS = 2
"""How often all pixels are gone through (the same)."""

MOTION_RADIUS = 10
"""Radius of the kernel in pixels (mnist-c, `motion_blur`, severity 1)."""

MOTION_SIGMA = 3.0
"""Standard deviation of the kernel in pixels (the same)."""

MOTION_ANGLE = 45.0
"""Greatest angle of the motion in degrees, either way (the same)."""


def glass_blur(images: Images, generator: np.random.Generator) -> Images:
    """Blurs, exchanges neighbouring pixels at random, and blurs again.

    The published code hands scikit-image a grey image and says that its last axis holds channels. What it publishes is
    therefore blurred from row to row only, and so it is here.

    Args:
        images: uint8[n,28,28].
        generator: Where the randomness comes from.

    Returns:
        uint8[n,28,28].
    """
    blurred = (_blur_rows(to_unit(images)) * MAX_PIXEL).astype(np.uint8)
    return to_pixels(_blur_rows(to_unit(_exchange(blurred, generator))))


def motion_blur(images: Images, generator: np.random.Generator) -> Images:
    """Smears each image in a direction of its own.

    The kernel is the one of ImageMagick, which the published code calls: half a Gaussian, from the pixel onwards in the
    direction of the motion, at whole pixels; beyond the edge the pixels of the edge are repeated
    (ImageMagick/ImageMagick, MagickCore/effect.c, `MotionBlurImage`).

    Args:
        images: uint8[n,28,28].
        generator: Where the randomness comes from.

    Returns:
        uint8[n,28,28].
    """
    taps = np.arange(2.0 * MOTION_RADIUS + 1)
    weights = np.exp(-(taps**2) / (2 * MOTION_SIGMA**2))
    weights = (weights / weights.sum()).astype(np.float32)
    angles = np.deg2rad(generator.uniform(-MOTION_ANGLE, MOTION_ANGLE, len(images)))[:, np.newaxis]
    rows = _whole_pixels(taps * np.sin(angles))
    columns = _whole_pixels(taps * np.cos(angles))
    sources, blurred = to_unit(images), np.zeros(images.shape, np.float32)
    for tap, weight in enumerate(weights):
        blurred += weight * _moved(sources, rows[:, tap], columns[:, tap])
    return to_pixels(blurred)


def _blur_rows(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return gaussian_filter1d(images, GLASS_SIGMA, axis=1, mode="nearest")


def _exchange(images: Images, generator: np.random.Generator) -> Images:
    # One after the other within an image, because a pixel may be exchanged again; all images at once.
    num_images = len(images)
    pixels = np.ascontiguousarray(images.reshape(num_images, IMAGE_SIZE).T).ravel()
    columns = np.arange(num_images)
    backwards = [
        row * IMAGE_WIDTH + column
        for _ in range(GLASS_ROUNDS)
        for row in range(IMAGE_HEIGHT - GLASS_REACH, GLASS_REACH, -1)
        for column in range(IMAGE_WIDTH - GLASS_REACH, GLASS_REACH, -1)
    ]
    distances = _exchange_distances(len(backwards), num_images, generator)
    for position, distance in zip(backwards, distances, strict=True):
        here = slice(position * num_images, (position + 1) * num_images)
        there = (position - distance) * num_images + columns
        moved = pixels[here].copy()
        pixels[here] = pixels[there]
        pixels[there] = moved
    return pixels.reshape(IMAGE_SIZE, num_images).T.reshape(images.shape)


def _exchange_distances(num_steps: int, num_images: int, generator: np.random.Generator) -> NDArray[np.int64]:
    # With one half chance a pixel stays; else it moves by 0 to GLASS_REACH rows up and as many columns left.
    shape = (num_steps, num_images)
    stays = generator.integers(0, 2, shape, dtype=np.uint8) == 0
    rows = generator.integers(0, GLASS_REACH + 1, shape, dtype=np.uint8)
    columns = generator.integers(0, GLASS_REACH + 1, shape, dtype=np.uint8)
    return np.where(stays, 0, rows.astype(np.int64) * IMAGE_WIDTH + columns)


def _whole_pixels(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.ceil(distances - 0.5).astype(np.int64)


def _moved(images: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
    from_rows = np.clip(np.arange(IMAGE_HEIGHT) + rows[:, np.newaxis], 0, IMAGE_HEIGHT - 1)
    from_columns = np.clip(np.arange(IMAGE_WIDTH) + columns[:, np.newaxis], 0, IMAGE_WIDTH - 1)
    number = np.arange(len(images))[:, np.newaxis, np.newaxis]
    return images[number, from_rows[:, :, np.newaxis], from_columns[:, np.newaxis, :]]
