"""Moves the pixels of MNIST's images: by random affine maps, and along smooth random fields."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

Images = NDArray[np.uint8]
"""Images uint8[n,height,width], 0 background to 255 ink."""

# Angle in degrees, relative size, columns per row by which an image leans, and pixels along each axis.
MAX_ROTATION = 10.0
MAX_SCALING = 0.1
MAX_SHEAR = 0.1
MAX_TRANSLATION = 2.0

FIELD_SIGMA = 4.0
"""Standard deviation in pixels of the Gaussian that smooths the displacements (Simard et al. 2003)."""

DEFORMATIONS: Mapping[str, float] = {"smooth deformation, strength 34": 34.0, "smooth deformation, strength 60": 60.0}
"""Factors of the smoothed displacements, alpha in Simard et al., who used the first one."""


def vary_affinely(images: Images, generator: np.random.Generator) -> Images:
    """Rotates, scales, shears and shifts each image a little, each in its own way."""
    num_images, height, width = images.shape
    angle, scaling, shear = (
        generator.uniform(-bound, bound, num_images) for bound in (np.deg2rad(MAX_ROTATION), MAX_SCALING, MAX_SHEAR)
    )
    shift = generator.uniform(-MAX_TRANSLATION, MAX_TRANSLATION, (num_images, 2, 1))
    # From points of the result to points of the source.
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    leaning = np.array([[np.ones(num_images), np.zeros(num_images)], [shear, np.ones(num_images)]])
    matrices = np.einsum("ijn,jkn->nik", rotation, leaning / (1 + scaling))
    center = np.array([[(height - 1) / 2], [(width - 1) / 2]])
    points = matrices @ (np.indices((height, width)).reshape(2, -1) - center) + center + shift
    return _sample(images, *points.swapaxes(0, 1).reshape(2, *images.shape))


def deform_smoothly(images: Images, generator: np.random.Generator, strength: float) -> Images:
    """Deforms each image like rubber (Simard et al. 2003, ICDAR, "Best practices for convolutional neural networks").

    The displacement of each pixel along each axis is uniform in -1 to 1, smoothed by a Gaussian of `FIELD_SIGMA` pixels
    as if it were 0 outside of the image, and multiplied by a strength. With 60, it is 2.4 pixels along each axis, as
    root mean square in the middle of an image. Pixels are sampled bilinearly; outside of the image is background.
    """
    field = generator.uniform(-1, 1, (2, *images.shape)).astype(np.float32)
    down, right = strength * gaussian_filter(field, FIELD_SIGMA, axes=(2, 3), mode="constant")
    rows, columns = np.indices(images.shape[1:], np.float32)
    return _sample(images, rows + down, columns + right)


def _sample(images: Images, rows: NDArray[np.floating], columns: NDArray[np.floating]) -> Images:
    """Returns the pixels at the points float[n,height,width] of each image."""
    numbers = np.broadcast_to(np.arange(len(images))[:, np.newaxis, np.newaxis], images.shape)
    values = map_coordinates(images, [numbers, rows, columns], np.float32, order=1, mode="grid-constant")
    return np.rint(values).astype(np.uint8)
