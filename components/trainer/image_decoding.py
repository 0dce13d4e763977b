"""Decodes images to luminance in the graph; reads the size before the pixels, because requests may hold anything."""

import tensorflow as tf

MAX_PIXELS = 16_000_000
"""Pixels of the largest image that is decoded: 16 megapixels."""
LONGEST_SIDE = 256
"""Longest side in pixels after averaging: ten times that of the digit in the end."""

_HEADER_LENGTH = 26
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"BM", b"\xff\xd8\xff", b"GIF8")
_PNG, _BMP, _JPEG, _GIF, _UNKNOWN = range(5)
_PNG_SIZE, _BMP_SIZE = 16, 18

# Layout of a GIF: https://www.w3.org/Graphics/GIF/spec-gif89a.txt
_GIF_HEADER_LENGTH = 13
_SCREEN_SIZE, _SCREEN_FLAGS = 6, 10
_EXTENSION, _LABEL_LENGTH = 0x21, 2
_FRAME_SIZE, _FRAME_FLAGS, _FRAME_LENGTH = 5, 9, 10
_CODE_SIZE_LENGTH = 1
_TRAILER = b";"

# ITU-R BT.601 luma. The weights add up to one, so that gray does not change.
_LUMA_WEIGHTS = (0.299, 0.587, 0.114)
_WHITE = 255.0


def read_headers(files: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Detects the formats of files from their first bytes, and reads the sizes there.

    Args:
        files: string[n].

    Returns:
        The format as a number, int32[n]; height and width int32[n,2], valid for PNG and BMP only.

    Raises:
        tf.errors.InvalidArgumentError: At run time: a file is neither PNG, JPEG, GIF nor BMP.
    """
    # Zeros follow what is shorter.
    headers = tf.strings.substr(files, 0, _HEADER_LENGTH) + bytes(_HEADER_LENGTH)
    formats = tf.fill(tf.shape(files), _UNKNOWN)
    for number, magic in enumerate(_MAGIC):
        formats = tf.where(tf.equal(tf.strings.substr(headers, 0, len(magic)), magic), number, formats)
    png_sizes = tf.io.decode_raw(
        tf.strings.substr(headers, _PNG_SIZE, 8), tf.int32, little_endian=False, fixed_length=8
    )
    # A negative height means that the first row is the topmost.
    bmp_sizes = tf.abs(tf.io.decode_raw(tf.strings.substr(headers, _BMP_SIZE, 8), tf.int32, fixed_length=8))
    sizes = tf.reverse(tf.where((formats == _PNG)[:, tf.newaxis], png_sizes, bmp_sizes), [1])
    unknown = tf.where(formats == _UNKNOWN)[:, 0]
    message = tf.strings.format("image_bytes{} is no PNG, JPEG, GIF or BMP file", unknown)
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(tf.size(unknown), 0), [message])]):
        return tf.identity(formats), sizes


def decode_luminance(number: tf.Tensor, encoded: tf.Tensor, file_format: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Decodes one image on a white background, and reduces it if it is large.

    Supports gray, RGB and palettes, with or without alpha, 8 or 16 bits per channel, and the first frame of a GIF. The
    EXIF orientation is not applied.

    Args:
        number: int32[], index of the image in the request, for messages.
        encoded: string[], the file.
        file_format: int32[], from `read_headers`.
        size: int32[2], from `read_headers`.

    Returns:
        float32[h,w], luminance from 0 black to 255 white, neither side longer than `LONGEST_SIDE`.

    Raises:
        tf.errors.InvalidArgumentError: At run time: the file is damaged, or has more than `MAX_PIXELS` pixels. Only
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
    height, width = tf.unstack(size)
    message = f"image_bytes[{{}}] is {{}} x {{}} pixels, {MAX_PIXELS // 10**6} megapixels at most: reduce it"
    check_size = tf.debugging.Assert(
        tf.reduce_prod(tf.abs(tf.cast(size, tf.float32))) <= MAX_PIXELS,
        [tf.strings.format(message, (number, width, height))],
    )
    with tf.control_dependencies([check_size]):
        pixels = tf.io.decode_image(file, expand_animations=False)
    return _luminance(_reduce(pixels))


def first_frame(gif: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts a GIF down to its first frame: TensorFlow decodes all frames, however much memory that takes.

    Args:
        gif: string[], a GIF; a damaged one stays damaged.

    Returns:
        The GIF of that frame alone, string[]; height and width int32[2] of the frame or of the screen that shows it,
        whichever is larger.
    """
    # A zero ends every list of blocks, and so the search in a truncated file.
    zeros = tf.zeros([_GIF_HEADER_LENGTH], tf.int32)
    content = tf.concat([tf.cast(tf.io.decode_raw(gif, tf.uint8), tf.int32), zeros], 0)
    last = tf.size(content) - _GIF_HEADER_LENGTH

    def skip_extension(start: tf.Tensor) -> tuple[tf.Tensor]:
        return (tf.minimum(_skip_blocks(content, start + _LABEL_LENGTH, last), last),)

    after_screen = tf.minimum(_GIF_HEADER_LENGTH + _color_table_length(content[_SCREEN_FLAGS]), last)
    (frame,) = tf.while_loop(lambda start: tf.equal(content[start], _EXTENSION), skip_extension, (after_screen,))
    data = frame + _FRAME_LENGTH + _color_table_length(content[frame + _FRAME_FLAGS]) + _CODE_SIZE_LENGTH
    end = _skip_blocks(content, data, last)
    size = tf.maximum(_gif_size(content, _SCREEN_SIZE), _gif_size(content, frame + _FRAME_SIZE))
    return tf.strings.substr(gif, 0, end) + _TRAILER, size


def _skip_blocks(content: tf.Tensor, start: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    def skip(block: tf.Tensor) -> tuple[tf.Tensor]:
        return (tf.minimum(block + 1 + content[block], last),)

    (end,) = tf.while_loop(lambda block: content[block] > 0, skip, (tf.minimum(start, last),))
    return end + 1


def _color_table_length(flags: tf.Tensor) -> tf.Tensor:
    num_colors = tf.bitwise.left_shift(2, tf.bitwise.bitwise_and(flags, 7))
    return tf.where(flags >= 128, 3 * num_colors, 0)


def _gif_size(content: tf.Tensor, place: int | tf.Tensor) -> tf.Tensor:
    width, height = content[place : place + 2], content[place + 2 : place + 4]
    return tf.stack([height[0] + 256 * height[1], width[0] + 256 * width[1]])


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
