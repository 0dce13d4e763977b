"""The 15 corruptions of MNIST-C (Mu and Gilmer 2019, arXiv:1906.02337) at the severities of the published set.

The parameters are those of the authors' code (google-research/mnist-c, `corruptions.py`). The implementation is our
own and processes whole batches. Each corruption is a `Corruption`.

MNIST-C has gray images of 28x28 pixels. For other sizes, lengths scale with the shorter side, and the ends of lines and
stripes with the height and the width. Noise differs by channel; everything else is the same for all channels of an
image, and edges are those of its luminance.
"""

import itertools
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, gaussian_filter1d

from components.features import LUMA_WEIGHTS, MAX_PIXEL
from components.robustness.image_processing import REFERENCE_SIDE, draw_lines, find_edges, plasma_fractals, windows

Images = NDArray[np.uint8]
"""Images uint8[n,height,width,channels], 0 black to 255 white."""

UnitImages = NDArray[np.float32]
"""The same images as float32[n,height,width,channels], 0 black to 1 white."""

Corruption = Callable[[UnitImages, np.random.Generator], NDArray[np.floating]]
"""Returns new images of the same shape; values outside 0 to 1 are clipped afterwards, as in MNIST-C."""

# Average number of photons at a white pixel (severity 5).
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
# Share of the columns in each of the two stripes.
STRIPE_WIDTH = 7 / 28
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
        return gaussian_filter1d(sharp, GLASS_SIGMA * _pixel(images), axis=1, mode="nearest")

    # The published code truncates here.
    blurred = (blur(images) * MAX_PIXEL).astype(np.uint8)
    return blur(_to_unit(_exchange_pixels(blurred, generator)))


def motion_blur(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Smears each image in a random direction.

    The kernel is that of ImageMagick, which the published code calls: half a Gaussian, from the pixel onward in the
    direction of the motion, at whole pixels; pixels at the edge are repeated outside (ImageMagick/ImageMagick,
    MagickCore/effect.c, `MotionBlurImage`).
    """
    radius, sigma = round(MOTION_RADIUS * _pixel(images)), MOTION_SIGMA * _pixel(images)
    taps = np.arange(2.0 * radius + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).astype(np.float32)
    angles = np.deg2rad(generator.uniform(-MOTION_ANGLE, MOTION_ANGLE, (len(images), 1)))
    margin = 2 * radius
    tops, lefts = (margin + np.ceil(taps * part - 0.5).astype(int) for part in (np.sin(angles), np.cos(angles)))
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="edge")
    blurred = np.zeros_like(images)
    for tap, weight in enumerate(weights):
        blurred += weight * windows(padded, tops[:, tap], lefts[:, tap], images.shape[1:3])
    return blurred


def shear(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Slants each image to the left or to the right.

    Like scikit-image 0.15, with which the published set was made, it also stretches the rows.
    """
    return _transform_either_way(
        images, lambda angle: np.array([[np.cos(angle), 0], [-np.sin(angle), 1]]), SHEAR, generator
    )


def scale(images: UnitImages, _: np.random.Generator) -> NDArray[np.floating]:
    """Shrinks what the images show."""
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
    distance = _whole_pixels(TRANSLATION, images)
    tops, lefts = 2 * distance * (1 - generator.integers(0, 2, (len(images), 2)).T)
    padded = np.pad(images, ((0, 0), (distance, distance), (distance, distance), (0, 0)))
    return windows(padded, tops, lefts, images.shape[1:3])


def stripe(images: UnitImages, _: np.random.Generator) -> NDArray[np.floating]:
    """Inverts a stripe at the left edge and one at the right."""
    num_columns = images.shape[2]
    columns, width = np.arange(num_columns), round(STRIPE_WIDTH * num_columns)
    inverted = (columns < width) | (columns >= num_columns - width)
    return np.where(inverted[:, np.newaxis], 1 - images, images)


def fog(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Adds a plasma fractal, and dims the result to the brightest pixel of the image."""
    brightest = images.max(axis=(1, 2, 3), keepdims=True)
    num_images, height, width, _ = images.shape
    fractals = plasma_fractals(num_images, height, width, FOG_DECAY, generator)
    foggy = images + FOG_STRENGTH * fractals[..., np.newaxis]
    return foggy * brightest / (brightest + FOG_STRENGTH)


def spatter(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Covers parts of the image with drops of mud."""

    def blur(sharp: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
        return gaussian_filter(sharp, sigma * _pixel(images), axes=(1, 2), mode="nearest")

    noise = generator.standard_normal(images.shape[:3], dtype=np.float32) * DROP_DEVIATION + DROP_MEAN
    cover = blur((blur(noise, DROP_SIGMA) > DROP_THRESHOLD).astype(np.float32), RIM_SIGMA)
    cover[cover < OPAQUE] = 0
    cover = cover[..., np.newaxis]
    return images * (1 - cover) + np.float32(MUD) * cover


def dotted_line(images: UnitImages, generator: np.random.Generator) -> NDArray[np.floating]:
    """Draws a dotted line from the left edge to the right one; it begins with a gap."""
    from_rows, to_rows = generator.integers(0, LINE_ROWS, (2, len(images)))
    line = _draw(images, np.zeros(len(images)), from_rows, np.full(len(images), REFERENCE_SIDE - 1.0), to_rows)
    dots = np.arange(images.shape[2]) // _whole_pixels(DOT_WIDTH, images) % 2 == 1
    return images + line * dots[:, np.newaxis]


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
        drawn += _draw(images, columns[start], rows[start], columns[end], rows[end])
    return drawn


def canny_edges(images: UnitImages, _: np.random.Generator) -> NDArray[np.floating]:
    """Keeps nothing but the edges, white on black."""
    luminance = images[..., 0] if images.shape[-1] == 1 else images @ np.array(LUMA_WEIGHTS, np.float32)
    edges = find_edges(luminance, _pixel(images))[..., np.newaxis]
    return np.broadcast_to(edges, images.shape).astype(np.float32)


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
        images: uint8[n,height,width,channels], 1 or 3 channels; n may be 0.
        generator: Source of randomness.

    Returns:
        A new array of the same shape and type.

    Raises:
        ValueError: No corruption has that name.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"Unknown corruption {name!r}; expected one of {', '.join(CORRUPTIONS)}.")
    corrupted = CORRUPTIONS[name](_to_unit(images), generator)
    return np.rint(np.clip(corrupted, 0, 1) * MAX_PIXEL).astype(np.uint8)


def _to_unit(images: Images) -> UnitImages:
    return images.astype(np.float32) / np.float32(MAX_PIXEL)


def _pixel(images: Images | UnitImages) -> float:
    """Returns how long a pixel of MNIST-C is in these images."""
    return min(images.shape[1:3]) / REFERENCE_SIDE


def _whole_pixels(length: int, images: Images | UnitImages) -> int:
    return max(1, round(length * _pixel(images)))


def _draw(
    images: UnitImages,
    from_columns: NDArray[np.floating],
    from_rows: NDArray[np.floating],
    to_columns: NDArray[np.floating],
    to_rows: NDArray[np.floating],
) -> NDArray[np.float32]:
    """Draws a line per image, float32[n,height,width,1]; its ends are those in images of 28x28 pixels."""
    height, width = images.shape[1:3]
    down, right = height / REFERENCE_SIDE, width / REFERENCE_SIDE
    ends = (from_columns * right, from_rows * down, to_columns * right, to_rows * down)
    return draw_lines(height, width, *ends, _pixel(images))[..., np.newaxis]


def _exchange_pixels(images: Images, generator: np.random.Generator) -> Images:
    num_images, height, width, channels = images.shape
    reach = _whole_pixels(GLASS_REACH, images)
    pixels = np.ascontiguousarray(images.reshape(num_images, height * width, channels).swapaxes(0, 1))
    rows, columns = (range(side - reach, reach, -1) for side in (height, width))
    positions = [row * width + column for _, row, column in itertools.product(range(GLASS_ROUNDS), rows, columns)]
    # Half of the pixels stay; the others move up to `reach` rows up and columns to the left.
    shape = (len(positions), num_images)
    stays = generator.integers(0, 2, shape, dtype=np.uint8) == 0
    up = generator.integers(0, reach + 1, shape, dtype=np.uint8)
    left = generator.integers(0, reach + 1, shape, dtype=np.uint8)
    distances = np.where(stays, 0, up.astype(np.int32) * width + left)
    # One pixel after the other, because a pixel may be exchanged again; all images at once.
    everyone = np.arange(num_images)
    for position, distance in zip(positions, distances, strict=True):
        there = position - distance
        moved = pixels[there, everyone]
        pixels[there, everyone] = pixels[position]
        pixels[position] = moved
    return pixels.swapaxes(0, 1).reshape(images.shape)


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
    num_images, height, width, channels = images.shape
    center = np.array([(height - 1) / 2, (width - 1) / 2])
    batch_matrix = np.eye(3)
    batch_matrix[1:, 1:] = matrix
    offset = np.array([0, *(center - matrix @ center)])
    planes = np.moveaxis(images, -1, 1).reshape(-1, height, width)
    moved = affine_transform(planes, batch_matrix, offset, order=1, mode="grid-constant")
    return np.moveaxis(moved.reshape(num_images, channels, height, width), 1, -1)


def _zigzag_corners(lengths: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the corners of zigzags along and across a line, each float64[8,n].

    All zigzags have six whole teeth: the lengths vary from 23 to 23.6 pixels. The published code ends the last, cut-off
    tooth at the height computed here.
    """
    teeth = np.arange(6)[:, np.newaxis] + np.zeros_like(lengths)
    along, across = (2 * teeth + 1) * TOOTH, TOOTH * (-1) ** teeth.astype(int)
    start, cut_off = np.zeros_like(lengths), across[-1] / (2 * (lengths % (2 * TOOTH)))
    return np.vstack([start, along, lengths]), np.vstack([start, across, cut_off])
