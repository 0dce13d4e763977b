"""Decodes images in the graph, to what the contract says the network sees."""

import tensorflow as tf

from components.features import LUMA_WEIGHTS, MAX_PIXEL

LONGEST_SIDE = 256
"""Longest side in pixels of decoded luminance: more than ten times that of the ink in a normalized MNIST image."""

# Resizing averages over at least two pixels of a reduced image.
_LEAST_REDUCTION = 2

# A 16-bit image is decoded to its upper 8 bits, of which 12-bit values fill only four.
_DARKEST_WHITE = 16.0
# Colors are equally light if a channel has this many times the contrast of the luminance.
_CONTRAST_RATIO = 3.0
# At least so many columns of an image, if it has them, show its contrast.
_NUM_COLUMNS = 128
# No image has less contrast than rounded pixels.
_ROUNDING = 1.0
# Mean deviation of the luminance of the visible pixels, up to which they have a single color.
_SINGLE_COLOR_DEVIATION = 8.0


# Tracing takes 0.3 s. Transform traces `preprocessing_fn` ten times, but a `tf.function` inside it only once.
@tf.function(autograph=False)
def decode_images(files: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Decodes images on a white background, and fits them into a size.

    An image of another size is resized with antialiasing, its aspect ratio is kept, and the rest is zero. An image of
    that size does not change.

    Args:
        files: string[n], PNG, JPEG, GIF or BMP.
        image_shape: Height, width and channels of the results; a single channel is luminance.

    Returns:
        float32[n,height,width,channels], whole numbers from 0 to 255.

    Raises:
        tf.errors.InvalidArgumentError: At run time: a file is damaged.
    """
    height, width, num_channels = image_shape
    size = (height, width)
    longest_side = max(LONGEST_SIDE, _LEAST_REDUCTION * max(size))

    def decode(file: tf.Tensor) -> tf.Tensor:
        pixels = _decode(file, longest_side)
        image = _luminance(pixels)[..., tf.newaxis] if num_channels == 1 else _color(pixels)
        fits = tf.reduce_all(tf.equal(tf.shape(image)[:2], size))
        fitted = tf.cond(fits, lambda: image, lambda: _fit(image, size))
        return tf.ensure_shape(tf.round(tf.clip_by_value(fitted, 0, MAX_PIXEL)), image_shape)

    return tf.map_fn(decode, files, fn_output_signature=tf.TensorSpec(image_shape))


def _fit(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes and pads an image float32[h,w,c]; `tf.image.resize_with_pad` would round down, even to no pixels.

    TensorFlow's functions that pad images contain assertions, which make the graph stateful, so that the analysis of
    Transform would decode every image although it needs none.
    """
    old_size = tf.cast(tf.shape(image)[:2], tf.float32)
    new_size = tf.cast(tf.maximum(tf.round(old_size * tf.reduce_min(size / old_size)), 1), tf.int32)
    before = (size - new_size) // 2
    paddings = tf.stack([before, size - new_size - before], axis=1)
    return tf.pad(tf.image.resize(image, new_size, antialias=True), tf.pad(paddings, ((0, 1), (0, 0))))


def decode_contrast(file: tf.Tensor) -> tf.Tensor:
    """Decodes one image to where ink and paper differ most, and reduces it if it is large.

    That is the luminance on a white background, except for colors that are equally light, where it is the channel with
    the most contrast, and for a single color on transparency, where it is the transparency. Paper far below white, as
    that of 12 bits in a 16-bit file, becomes white.

    Supports gray, RGB and palettes, with or without alpha, 8 or 16 bits per channel, and the first frame of a GIF. The
    EXIF orientation is not applied.

    Args:
        file: string[], PNG, JPEG, GIF or BMP.

    Returns:
        float32[h,w], from 0 black to 255 white, neither side longer than `LONGEST_SIDE`.

    Raises:
        tf.errors.InvalidArgumentError: At run time: the file is damaged.
    """
    pixels = _decode(file, LONGEST_SIDE)
    image = tf.cond(_has_alpha(pixels), lambda: _transparency_or_luminance(pixels), lambda: _luminance(pixels))
    image = tf.cond(_has_color(pixels), lambda: _channel_with_contrast(_color(pixels), image), lambda: image)
    white = tf.reduce_max(image)
    # Noise on black is no dark paper.
    is_dark_paper = (white <= _DARKEST_WHITE) & (tf.reduce_mean(image) > white / 2)
    return tf.cond(is_dark_paper, lambda: tf.math.divide_no_nan(image * MAX_PIXEL, white), lambda: image)


def _transparency_or_luminance(pixels: tf.Tensor) -> tf.Tensor:
    alpha, luminance = pixels[..., -1], _raw_luminance(pixels)[..., 0]

    def visible_mean(values: tf.Tensor) -> tf.Tensor:
        return tf.math.divide_no_nan(tf.reduce_sum(values * alpha), tf.reduce_sum(alpha))

    deviation = visible_mean(tf.abs(luminance - visible_mean(luminance)))
    has_shape = (tf.reduce_max(alpha) > tf.reduce_min(alpha)) & (deviation < _SINGLE_COLOR_DEVIATION)
    return tf.cond(has_shape, lambda: MAX_PIXEL - alpha, lambda: _luminance(pixels))


def _channel_with_contrast(color: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    contrasts = _contrast(color)
    best = tf.argmax(contrasts)
    better = contrasts[best] > _CONTRAST_RATIO * tf.maximum(_contrast(image), _ROUNDING)
    return tf.cond(better, lambda: color[..., best], lambda: image)


def _contrast(image: tf.Tensor) -> tf.Tensor:
    """Returns the standard deviation of each channel of an image float32[h,w,...].

    Without the means of rows and columns, which uneven light makes different.
    """
    sample = sample_columns(image, _NUM_COLUMNS)
    rows, columns = (tf.reduce_mean(sample, axis=axis, keepdims=True) for axis in (1, 0))
    return tf.math.reduce_std(sample - rows - columns, axis=[0, 1])


def sample_columns(image: tf.Tensor, num_columns: int) -> tf.Tensor:
    """Returns evenly spaced columns of an image [h,w,...]: at least `num_columns`, or all if it has no more."""
    return image[:, :: tf.maximum(tf.shape(image)[1] // num_columns, 1)]


def _decode(file: tf.Tensor, longest_side: int) -> tf.Tensor:
    """Returns pixels float32[h,w,c]; c is 1 or 3, and one more with alpha."""
    pixels = tf.io.decode_image(file, expand_animations=False)
    size = tf.shape(pixels)[:2]
    factor = (tf.reduce_max(size) + longest_side - 1) // longest_side

    # Both resize ops read bytes: as floats a large photo would take four times its memory.
    arguments = {"images": pixels[tf.newaxis], "size": tf.maximum(size // factor, 1)}

    def reduced() -> tf.Tensor:
        return tf.cond(
            tf.equal(factor, 2),
            # At half the size, bilinear interpolation is the mean of four pixels, too, in half the time.
            lambda: tf.raw_ops.ResizeBilinear(**arguments, half_pixel_centers=True)[0],
            lambda: tf.raw_ops.ResizeArea(**arguments)[0],
        )

    # TFT cannot analyze a graph with `tf.switch_case`.
    return tf.cond(factor > 1, reduced, lambda: tf.cast(pixels, tf.float32))


def _luminance(pixels: tf.Tensor) -> tf.Tensor:
    return _on_paper(_raw_luminance(pixels), pixels)[..., 0]


def _raw_luminance(pixels: tf.Tensor) -> tf.Tensor:
    return tf.cond(
        _has_color(pixels),
        lambda: tf.tensordot(pixels[..., :3], tf.constant(LUMA_WEIGHTS), axes=1)[..., tf.newaxis],
        lambda: pixels[..., :1],
    )


def _color(pixels: tf.Tensor) -> tf.Tensor:
    color = tf.cond(_has_color(pixels), lambda: pixels[..., :3], lambda: tf.repeat(pixels[..., :1], 3, axis=-1))
    return _on_paper(color, pixels)


def _has_color(pixels: tf.Tensor) -> tf.Tensor:
    return tf.shape(pixels)[-1] > 2


def _has_alpha(pixels: tf.Tensor) -> tf.Tensor:
    return tf.equal(tf.shape(pixels)[-1] % 2, 0)


def _on_paper(image: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Draws an image float32[h,w,c] on white; if its pixels have two or four channels, the last one is alpha."""

    def drawn() -> tf.Tensor:
        alpha = pixels[..., -1:] / MAX_PIXEL
        # Ignores an alpha channel that hides the whole image, which many BMPs have.
        alpha = tf.where(tf.reduce_any(alpha > 0), alpha, 1.0)
        return MAX_PIXEL + (image - MAX_PIXEL) * alpha

    return tf.cond(_has_alpha(pixels), drawn, lambda: image)
