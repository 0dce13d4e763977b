"""From encoded images to luminance, inside the graph: what is sent may be anything, so sizes are read before pixels."""

import tensorflow as tf

from components.trainer.gif_frames import first_frame

MAX_PIXELS = 16_000_000
"""Pixels of the largest image that is decoded: 16 megapixels."""
LONGEST_SIDE = 256
"""Larger images are averaged down to at most this many pixels: ten for each of those that the digit gets in the end."""

_HEADER_LENGTH = 26
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"BM", b"\xff\xd8\xff", b"GIF8")
_PNG, _BMP, _JPEG, _GIF, _UNKNOWN = range(5)
_BIG_ENDIAN = (1 << 24, 1 << 16, 1 << 8, 1)
_LITTLE_ENDIAN = (1, 1 << 8, 1 << 16, 1 << 24)

# ITU-R BT.601 luma. The weights add up to one, so grey stays exactly as it was.
_LUMA_WEIGHTS = (0.299, 0.587, 0.114)
_WHITE = 255.0


def read_headers(files: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Tells the formats of files by their first bytes, and reads the sizes that stand there.

    Args:
        files: string[n].

    Returns:
        A number for the format, int32[n]; height and width int32[n,2], which mean something for PNG and BMP only.

    Raises:
        tf.errors.InvalidArgumentError: When it runs: a file is neither PNG, JPEG, GIF nor BMP.
    """
    # What is shorter is filled up with zeros.
    header = tf.cast(tf.io.decode_raw(files, tf.uint8, fixed_length=_HEADER_LENGTH), tf.int32)
    matches = [tf.reduce_all(header[:, : len(magic)] == list(magic), axis=1) for magic in _MAGIC]
    formats = tf.fill([tf.shape(header)[0]], _UNKNOWN)
    for number, match in enumerate(matches):
        formats = tf.where(match, number, formats)
    sizes = tf.where(matches[_PNG][:, tf.newaxis], _png_sizes(header), _bmp_sizes(header))
    unknown = tf.where(formats == _UNKNOWN)[:, 0]
    message = tf.strings.format("image_bytes{} is no PNG, JPEG, GIF or BMP file", unknown)
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(tf.size(unknown), 0), [message])]):
        return tf.identity(formats), sizes


def decode_luminance(number: tf.Tensor, encoded: tf.Tensor, file_format: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Decodes one image, shows it on white paper, and reduces what is large.

    It takes grey, RGB or a palette, with or without alpha, 8 or 16 bits per channel, and of a GIF the first picture.
    The orientation that EXIF may ask for is not applied: whoever sends a photo turns it upright.

    Args:
        number: int32[], the place of the image in the request, for messages.
        encoded: string[], the file.
        file_format: int32[], from `read_headers`.
        size: int32[2], from `read_headers`.

    Returns:
        float32[h,w], luminance from 0 black to 255 white, neither side longer than `LONGEST_SIDE`.

    Raises:
        tf.errors.InvalidArgumentError: When it runs: the file is damaged, or has more than `MAX_PIXELS` pixels. Only
            the header of such an image is read.
    """
    file, size = tf.switch_case(
        tf.maximum(file_format - _BMP, 0),
        [
            lambda: (encoded, size),
            lambda: (encoded, tf.image.extract_jpeg_shape(encoded)[:2]),
            lambda: first_frame(encoded),
        ],
    )
    with tf.control_dependencies([_check_size(number, size)]):
        pixels = tf.io.decode_image(file, expand_animations=False)
    return _luminance(_reduce(pixels))


def _png_sizes(header: tf.Tensor) -> tf.Tensor:
    return tf.stack([_number(header[:, 20:24], _BIG_ENDIAN), _number(header[:, 16:20], _BIG_ENDIAN)], axis=1)


def _bmp_sizes(header: tf.Tensor) -> tf.Tensor:
    # A negative height means that the first row is the topmost.
    width, height = _number(header[:, 18:22], _LITTLE_ENDIAN), _number(header[:, 22:26], _LITTLE_ENDIAN)
    return tf.abs(tf.stack([height, width], axis=1))


def _number(digits: tf.Tensor, place_values: tuple[int, ...]) -> tf.Tensor:
    return tf.reduce_sum(digits * tf.constant(place_values), axis=1)


def _check_size(number: tf.Tensor, size: tf.Tensor) -> tf.Operation:
    height, width = tf.unstack(size)
    message = f"image_bytes[{{}}] is {{}} x {{}} pixels, {MAX_PIXELS // 10**6} megapixels at most: reduce it"
    return tf.debugging.Assert(
        tf.reduce_prod(tf.abs(tf.cast(size, tf.float32))) <= MAX_PIXELS,
        [tf.strings.format(message, (number, width, height))],
    )


def _reduce(pixels: tf.Tensor) -> tf.Tensor:
    size = tf.shape(pixels)[:2]
    factor = (tf.reduce_max(size) + LONGEST_SIDE - 1) // LONGEST_SIDE

    # Both read bytes: as floats a large photo would take four times its memory.
    reduced = {"images": pixels[tf.newaxis], "size": tf.maximum(size // factor, 1)}
    return tf.switch_case(
        factor - 1,
        [
            lambda: tf.cast(pixels, tf.float32),
            # Halfway between pixels it, too, is the mean of four, in half the time.
            lambda: tf.raw_ops.ResizeBilinear(**reduced, half_pixel_centers=True)[0],
            lambda: tf.raw_ops.ResizeArea(**reduced)[0],
        ],
    )


def _luminance(pixels: tf.Tensor) -> tf.Tensor:
    def grey() -> tf.Tensor:
        return pixels[..., 0]

    def colour(*of_alpha: float) -> tf.Tensor:
        return tf.tensordot(pixels, tf.constant((*_LUMA_WEIGHTS, *of_alpha)), axes=1)

    def on_paper(luminance: tf.Tensor) -> tf.Tensor:
        alpha = pixels[..., -1] / _WHITE
        # Nothing can be seen of such an image: its alpha, as that of many a BMP, is not meant.
        alpha = tf.where(tf.reduce_any(alpha > 0), alpha, 1.0)
        return _WHITE + (luminance - _WHITE) * alpha

    by_channels = [grey, lambda: on_paper(grey()), colour, lambda: on_paper(colour(0.0))]
    return tf.switch_case(tf.shape(pixels)[-1] - 1, by_channels)
