"""Decodes images to luminance in the graph; checks their sizes first, because a request may contain anything."""

import tensorflow as tf

from components.trainer.image_files import BMP, first_frame
from components.trainer.request_limits import require

MAX_PIXELS = 16_000_000
"""Pixels of the largest image, and of all images of a request: 16 megapixels."""
LONGEST_SIDE = 256
"""Longest side in pixels after averaging: ten times that of the digit in the end."""

_MEGAPIXELS = MAX_PIXELS // 10**6
_SHORTEST_SIDE = 32.0

# ITU-R BT.601 luma. The weights add up to one, so that gray does not change.
_LUMA_WEIGHTS = (0.299, 0.587, 0.114)
_WHITE = 255.0


def check_image(
    number: tf.Tensor, encoded: tf.Tensor, file_format: tf.Tensor, size: tf.Tensor, num_pixels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Limits the work that one image, and all images of a request, can cause.

    Args:
        number: int32[], index of the image in the request, for messages.
        encoded: string[], the file.
        file_format: int32[], from `read_headers`.
        size: int32[2], from `read_headers`.
        num_pixels: float32[], pixels of the images before it in the request.

    Returns:
        The file, string[], reduced to what the decoder needs; float32[], `num_pixels` plus the pixels of this image.

    Raises:
        tf.errors.InvalidArgumentError: At run time: the image exceeds a limit, or the request does because of it. Only
            headers have been read.
    """
    file, size = tf.switch_case(
        tf.maximum(file_format - BMP, 0),
        [
            lambda: (encoded, size),
            lambda: (encoded, tf.image.extract_jpeg_shape(encoded)[:2]),
            lambda: first_frame(encoded),
        ],
    )
    height, width = tf.unstack(size)
    # Decoders work on blocks and rows.
    pixels = tf.reduce_prod(tf.maximum(tf.abs(tf.cast(size, tf.float32)), _SHORTEST_SIDE))
    is_allowed = (tf.reduce_min(size) > 0) & (pixels <= MAX_PIXELS)
    message = f"image_bytes[{{}}] is {{}} x {{}} pixels, but 1 x 1 to {_MEGAPIXELS} megapixels are allowed: resize it"
    check_size = require(is_allowed, message, number, width, height)
    num_pixels += pixels
    message = f"the images up to image_bytes[{{}}] have more than {_MEGAPIXELS} megapixels: send fewer per request"
    with tf.control_dependencies([check_size]):
        check_sum = require(num_pixels <= MAX_PIXELS, message, number)
    with tf.control_dependencies([check_sum]):
        return tf.identity(file), num_pixels


def decode_luminance(file: tf.Tensor) -> tf.Tensor:
    """Decodes one image on a white background, and reduces it if it is large.

    Supports gray, RGB and palettes, with or without alpha, 8 or 16 bits per channel, and the first frame of a GIF. The
    EXIF orientation is not applied.

    Args:
        file: string[], from `check_image`.

    Returns:
        float32[h,w], luminance from 0 black to 255 white, neither side longer than `LONGEST_SIDE`.

    Raises:
        tf.errors.InvalidArgumentError: At run time: the file is damaged.
    """
    return _luminance(_reduce(tf.io.decode_image(file, expand_animations=False)))


def _reduce(pixels: tf.Tensor) -> tf.Tensor:
    size = tf.shape(pixels)[:2]
    factor = (tf.reduce_max(size) + LONGEST_SIDE - 1) // LONGEST_SIDE

    # Both resize ops read bytes: as floats a large photo would take four times its memory.
    arguments = {"images": pixels[tf.newaxis], "size": tf.maximum(size // factor, 1)}
    return tf.switch_case(
        factor - 1,
        [
            lambda: tf.cast(pixels, tf.float32),
            # At half the size, bilinear interpolation is the mean of four pixels, too, in half the time.
            lambda: tf.raw_ops.ResizeBilinear(**arguments, half_pixel_centers=True)[0],
            lambda: tf.raw_ops.ResizeArea(**arguments)[0],
        ],
    )


def _luminance(pixels: tf.Tensor) -> tf.Tensor:
    def gray() -> tf.Tensor:
        return pixels[..., 0]

    def color(*alpha_weight: float) -> tf.Tensor:
        return tf.tensordot(pixels, tf.constant((*_LUMA_WEIGHTS, *alpha_weight)), axes=1)

    def on_paper(luminance: tf.Tensor) -> tf.Tensor:
        alpha = pixels[..., -1] / _WHITE
        # Ignores an alpha channel that hides the whole image, which many BMPs have.
        alpha = tf.where(tf.reduce_any(alpha > 0), alpha, 1.0)
        return _WHITE + (luminance - _WHITE) * alpha

    by_channels = [gray, lambda: on_paper(gray()), color, lambda: on_paper(color(0.0))]
    return tf.switch_case(tf.shape(pixels)[-1] - 1, by_channels)
