"""The 15 corruptions of MNIST-C (Mu and Gilmer 2019, arXiv:1906.02337) at the severities of the published set.

The parameters are those of the authors' code (google-research/mnist-c, `corruptions.py`). The implementation is our
own and processes whole batches. Each corruption is a `Corruption`.
"""

import itertools
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, gaussian_filter1d

from components.features import IMAGE_HEIGHT, IMAGE_SIZE, IMAGE_WIDTH, MAX_PIXEL
from components.robustness.image_processing import draw_lines, find_edges, plasma_fractals, windows

CORRUPTION_KEY = "corruption"
"""Feature with the name of the corruption."""

Images = NDArray[np.uint8]
"""Images uint8[n,28,28], 0 background to 255 ink."""

UnitImages = NDArray[np.float32]
"""The same images as float32[n,28,28], 0 background to 1 ink."""

Corruption = Callable[[UnitImages, np.random.Generator], NDArray[np.floating]]
"""Returns new images float[n,28,28]; values outside 0 to 1 are clipped afterwards, as in MNIST-C."""

# Average number of photons at a pixel of full ink (severity 5).
PHOTONS = 3
# Share of the pixels that are replaced (severity 4).
IMPULSE_SHARE = 0.17
# Severity 1: standard deviation of the blur, distance of exchanged pixels, and passes over all pixels.
GLASS_SIGMA = 0.7
GLASS_REACH = 1
GLASS_ROUNDS = 2
# Severity 1: radius and standard deviation of the kernel in pixels, and largest angle in degrees.
MOTION_RADIUS = 10
MOTION_SIGMA = 3.0
MOTION_ANGLE = 45.0
# Angles in radians, relative size, and pixels along each axis (severities 2, 2, 3 and 3).
SHEAR = 0.4
ROTATION = 0.4
SCALE = 0.7
TRANSLATION = 3
# Added to each pixel (severity 5).
BRIGHTNESS = 0.5
# Columns of each of the two stripes.
STRIPE_WIDTH = 7
# Parts of fog to one part of image, and smoothness of the fog (severity 5).
FOG_STRENGTH = 3.0
FOG_DECAY = 1.4
# Severity 4: drops are where blurred noise exceeds a threshold; what blurring leaves of them below `OPAQUE` is clear.
DROP_MEAN, DROP_DEVIATION = 0.65, 0.3
DROP_SIGMA = 1.0
DROP_THRESHOLD = 0.65
RIM_SIGMA = 1.5
OPAQUE = 0.8
MUD = 63 / 255
# Lines begin, and dotted ones end, in one of the first `LINE_ROWS` rows. Dots and gaps have the same width in columns.
LINE_ROWS = 27
DOT_WIDTH = 2
# First and last column of a zigzag, bound of the rows that it rises, and height and half the width of a tooth.
ZIGZAG_COLUMNS = (2, 25)
ZIGZAG_RISE = 5
TOOTH = 2.0


def shot_noise(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Simulates too little light: each pixel counts a few photons."""
    return generator.poisson(images * PHOTONS) / PHOTONS


def impulse_noise(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Replaces pixels with black or white, like scikit-image's `random_noise` in mode `s&p`."""
    chance = generator.random(images.shape, dtype=np.float32)
    return np.where(chance < IMPULSE_SHARE, chance < IMPULSE_SHARE / 2, images)


def glass_blur(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Blurs, exchanges neighboring pixels at random, and blurs again.

    The blur runs along columns only: the published code passes scikit-image a grayscale image as if its last axis were
    the channels.
    """

    def blur(sharp: UnitImages) -> UnitImages:
        return gaussian_filter1d(sharp, GLASS_SIGMA, axis=1, mode="nearest")

    # The published code truncates here.
    blurred = (blur(images) * MAX_PIXEL).astype(np.uint8)
    return blur(_to_unit(_exchange_pixels(blurred, generator)))


def motion_blur(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Smears each image in a random direction.

    The kernel is that of ImageMagick, which the published code calls: half a Gaussian, from the pixel onward in the
    direction of the motion, at whole pixels; pixels at the edge are repeated outside (ImageMagick/ImageMagick,
    MagickCore/effect.c, `MotionBlurImage`).
    """
    taps = np.arange(2.0 * MOTION_RADIUS + 1)
    weights = np.exp(-(taps**2) / (2 * MOTION_SIGMA**2))
    weights = (weights / weights.sum()).astype(np.float32)
    angles = np.deg2rad(generator.uniform(-MOTION_ANGLE, MOTION_ANGLE, (len(images), 1)))
    margin = 2 * MOTION_RADIUS
    tops, lefts = (margin + np.ceil(taps * part - 0.5).astype(int) for part in (np.sin(angles), np.cos(angles)))
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin)), mode="edge")
    blurred = np.zeros_like(images)
    for tap, weight in enumerate(weights):
        blurred += weight * windows(padded, tops[:, tap], lefts[:, tap])
    return blurred


def shear(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Slants each image to the left or to the right.

    Like scikit-image 0.15, with which the published set was made, it also stretches the rows.
    """
    return _transform_either_way(
        images, lambda angle: np.array([[np.cos(angle), 0], [-np.sin(angle), 1]]), SHEAR, generator
    )


def scale(images: UnitImages, _: np.random.Generator) -> NDArray[np.floating]:
    """Shrinks digits."""
    return _transform(images, np.eye(2) / SCALE)


def rotate(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Rotates each image clockwise or counterclockwise."""
    return _transform_either_way(
        images,
        lambda angle: np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]),
        ROTATION,
        generator,
    )


def brightness(images: UnitImages, _: np.random.Generator) -> NDArray[np.floating]:
    """Brightens all pixels."""
    return images + np.float32(BRIGHTNESS)


def translate(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Moves each image toward one of its corners."""
    tops, lefts = 2 * TRANSLATION * (1 - generator.integers(0, 2, (len(images), 2)).T)
    return windows(np.pad(images, ((0, 0), (TRANSLATION, TRANSLATION), (TRANSLATION, TRANSLATION))), tops, lefts)


def stripe(images: UnitImages, _: np.random.Generator) -> NDArray[np.floating]:
    """Inverts a stripe at the left edge and one at the right."""
    columns = np.arange(IMAGE_WIDTH)
    inverted = (columns < STRIPE_WIDTH) | (columns >= IMAGE_WIDTH - STRIPE_WIDTH)
    return np.where(inverted, 1 - images, images)


def fog(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Adds a plasma fractal, and dims the result to the brightest pixel of the image."""
    brightest = images.max(axis=(1, 2), keepdims=True)
    foggy = images + FOG_STRENGTH * plasma_fractals(len(images), FOG_DECAY, generator)
    return foggy * brightest / (brightest + FOG_STRENGTH)


def spatter(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Covers parts of the image with drops of mud."""

    def blur(sharp: UnitImages, sigma: float) -> UnitImages:
        return gaussian_filter(sharp, sigma, axes=(1, 2), mode="nearest")

    noise = generator.standard_normal(images.shape, dtype=np.float32) * DROP_DEVIATION + DROP_MEAN
    cover = blur((blur(noise, DROP_SIGMA) > DROP_THRESHOLD).astype(np.float32), RIM_SIGMA)
    cover[cover < OPAQUE] = 0
    return images * (1 - cover) + np.float32(MUD) * cover


def dotted_line(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Draws a dotted line from the left edge to the right one; it begins with a gap."""
    from_rows, to_rows = generator.integers(0, LINE_ROWS, (2, len(images)))
    line = draw_lines(np.zeros(len(images)), from_rows, np.full(len(images), IMAGE_WIDTH - 1.0), to_rows)
    return images + line * (np.arange(IMAGE_WIDTH) // DOT_WIDTH % 2 == 1)


def zigzag(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Draws a zigzag along a line from left to right."""
    first_rows = generator.integers(0, LINE_ROWS, len(images))
    rises = generator.integers(-ZIGZAG_RISE, ZIGZAG_RISE, len(images))
    first, last = ZIGZAG_COLUMNS
    angles = np.arctan(rises / (last - first))
    along, across = _zigzag_corners((last - first) / np.cos(angles))
    columns = first + along * np.cos(angles) - across * np.sin(angles)
    rows = first_rows + along * np.sin(angles) + across * np.cos(angles)
    drawn = images.copy()
    for start, end in itertools.pairwise(range(len(columns))):
        drawn += draw_lines(columns[start], rows[start], columns[end], rows[end])
    return drawn


def canny_edges(images: UnitImages, _: np.random.Generator) -> NDArray[np.floating]:
    """Keeps nothing but the edges of the strokes."""
    return find_edges(images).astype(np.float32)


# In the order of the paper.
CORRUPTIONS: Mapping[str, Corruption] = {
    corruption.__name__: corruption
    for corruption in (
        shot_noise,
        impulse_noise,
        glass_blur,
        motion_blur,
        shear,
        scale,
        rotate,
        brightness,
        translate,
        stripe,
        fog,
        spatter,
        dotted_line,
        zigzag,
        canny_edges,
    )
}


def corrupt(name: str, images: Images, generator: np.random.Generator) -> Images:
    """Corrupts a batch of images; the same generator state returns the same result.

    Args:
        name: One of `CORRUPTIONS`.
        images: uint8[n,28,28], 0 background to 255 ink; n may be 0.
        generator: Source of randomness.

    Returns:
        uint8[n,28,28], a new array.

    Raises:
        ValueError: No corruption has that name.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"Unknown corruption {name!r}; expected one of {', '.join(CORRUPTIONS)}.")
    corrupted = CORRUPTIONS[name](_to_unit(images), generator)
    return np.rint(np.clip(corrupted, 0, 1) * MAX_PIXEL).astype(np.uint8)


def _to_unit(images: Images) -> UnitImages:
    return images.astype(np.float32) / np.float32(MAX_PIXEL)


def _exchange_pixels(images: Images, generator: np.random.Generator) -> Images:
    num_images = len(images)
    pixels = np.ascontiguousarray(images.reshape(num_images, IMAGE_SIZE).T).ravel()
    rows, columns = (range(side - GLASS_REACH, GLASS_REACH, -1) for side in (IMAGE_HEIGHT, IMAGE_WIDTH))
    positions = [row * IMAGE_WIDTH + column for _, row, column in itertools.product(range(GLASS_ROUNDS), rows, columns)]
    # Half of the pixels stay; the others move up to GLASS_REACH rows up and columns to the left.
    shape = (len(positions), num_images)
    stays = generator.integers(0, 2, shape, dtype=np.uint8) == 0
    up = generator.integers(0, GLASS_REACH + 1, shape, dtype=np.uint8)
    left = generator.integers(0, GLASS_REACH + 1, shape, dtype=np.uint8)
    distances = np.where(stays, 0, up.astype(np.int64) * IMAGE_WIDTH + left)
    # One pixel after the other, because a pixel may be exchanged again; all images at once.
    for position, distance in zip(positions, distances, strict=True):
        here = slice(position * num_images, (position + 1) * num_images)
        there = (position - distance) * num_images + np.arange(num_images)
        pixels[here], pixels[there] = pixels[there], pixels[here].copy()
    return pixels.reshape(IMAGE_SIZE, num_images).T.reshape(images.shape)


def _transform_either_way(
    images: UnitImages,
    matrix: Callable[[float], NDArray[np.float64]],
    angle: float,
    generator: np.random.Generator,
) -> UnitImages:
    signs = generator.integers(0, 2, len(images)) * 2 - 1
    transformed = np.empty_like(images)
    for sign in (-1, 1):
        transformed[signs == sign] = _transform(images[signs == sign], matrix(sign * angle))
    return transformed


def _transform(images: UnitImages, matrix: NDArray[np.float64]) -> UnitImages:
    """Applies a linear map around the center, from points of the result to points of the source."""
    if not len(images):  # SciPy fails on an empty batch.
        return images
    center = np.array([(IMAGE_HEIGHT - 1) / 2, (IMAGE_WIDTH - 1) / 2])
    batch_matrix = np.eye(3)
    batch_matrix[1:, 1:] = matrix
    offset = np.array([0, *(center - matrix @ center)])
    return affine_transform(images, batch_matrix, offset, order=1, mode="grid-constant")


def _zigzag_corners(lengths: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the corners of zigzags along and across a line, each float64[8,n].

    All zigzags have six whole teeth: the lengths vary from 23 to 23.6 pixels. The published code ends the last, cut-off
    tooth at the height computed here.
    """
    teeth = np.arange(6)[:, np.newaxis] + np.zeros_like(lengths)
    along, across = (2 * teeth + 1) * TOOTH, TOOTH * (-1) ** teeth.astype(int)
    start, cut_off = np.zeros_like(lengths), across[-1] / (2 * (lengths % (2 * TOOTH)))
    return np.vstack([start, along, lengths]), np.vstack([start, across, cut_off])
