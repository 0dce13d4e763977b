"""Limits the work that the image files of a request can cause, in the graph, before any is decoded.

Image decoders also read what nobody sees: compressed texts, later frames, and hundreds of scans. So a small file can
occupy a server for minutes. Files are cut down to what holds the pixels of one image.
"""

import tensorflow as tf

from components.trainer.png_files import only_pixels, png_sizes
from components.trainer.request_limits import require
from registry.signatures import MAX_PIXELS, SHORTEST_SIDE

MAX_SCANS = 24
"""Scans of a JPEG and its thumbnails; a progressive image has about 10, any other 1."""

_MEGAPIXELS = MAX_PIXELS // 10**6
_NUM_PARALLEL_FILES = 2

_PNG, _BMP, _JPEG, _GIF, _UNKNOWN = range(5)
_MAGIC = {_PNG: b"\x89PNG\r\n\x1a\n", _BMP: b"BM", _JPEG: b"\xff\xd8\xff", _GIF: b"GIF8"}
_HEADER_LENGTH = 26
_BMP_SIZE = 18

# In a request of up to this size, the chunks of PNGs inflate to at most 64 MB.
_SHORT_REQUEST = 64 * 1024

# A scan starts with its marker, its length and its number of components (ITU-T T.81).
_SCAN = b"\xff\xda"
_SCAN_HEADERS = (b"\x00\x08\x01", b"\x00\x0a\x02", b"\x00\x0c\x03", b"\x00\x0e\x04")
_SCAN_HEADER_LENGTH = 3
# A video behind the image contains a marker every 64 KB by chance.
_MAX_SCAN_MARKERS = 1024

# Layout of a GIF: https://www.w3.org/Graphics/GIF/spec-gif89a.txt
_GIF_HEADER_LENGTH = 13
_SCREEN_SIZE, _SCREEN_FLAGS = 6, 10
_EXTENSION, _LABEL_LENGTH = 0x21, 2
_FRAME_SIZE, _FRAME_FLAGS, _FRAME_LENGTH = 5, 9, 10
_CODE_SIZE_LENGTH = 1
_LONGEST_BLOCK = 256
_TRAILER = b";"
# The first window is short, because most GIFs are.
_FIRST_WINDOW_EXPONENT, _LONG_WINDOW_EXPONENT = 6, 11


# A function that all signatures share: each copy of its 1000 nodes takes time whenever a model is loaded.
@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def limited_files(files: tf.Tensor) -> tf.Tensor:
    """Returns the images of a request, cut down to what the decoder needs, unless they exceed a limit.

    Args:
        files: string[n].

    Returns:
        string[n], PNG, JPEG, GIF or BMP; only headers have been read, so files may still be damaged.

    Raises:
        tf.errors.InvalidArgumentError: At run time: a file is not an image, or the request exceeds a limit
            (docs/serving.md#limits).
    """
    files, formats, sizes = _read_headers(files)

    def read_file(inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        file, file_format, size = inputs
        return tf.switch_case(
            tf.maximum(file_format - _BMP, 0),
            [
                lambda: (file, size),
                lambda: (file, tf.image.extract_jpeg_shape(file)[:2]),
                lambda: first_frame(file),
            ],
        )

    def read_files() -> tuple[tf.Tensor, tf.Tensor]:
        specs = (tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int32))
        inputs = (files, formats, sizes)
        return tf.map_fn(read_file, inputs, _NUM_PARALLEL_FILES, fn_output_signature=specs)

    files, sizes = tf.cond(tf.reduce_any(formats > _BMP), read_files, lambda: (files, sizes))
    return check_sizes(files, sizes)


def check_sizes(files: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
    """Returns files, string[n], if neither an image nor all together have too many pixels.

    Args:
        files: string[n].
        sizes: int32[n,2], height and width.

    Raises:
        tf.errors.InvalidArgumentError: At run time: an image has no pixels, or there are more than `MAX_PIXELS`.
    """
    num_files = tf.size(files)
    num_pixels = tf.reduce_prod(tf.maximum(tf.abs(tf.cast(sizes, tf.float32)), SHORTEST_SIDE), axis=1)
    is_allowed = (tf.reduce_min(sizes, axis=1) > 0) & (num_pixels <= MAX_PIXELS)
    refused = tf.reduce_min(tf.where(is_allowed, num_files, tf.range(num_files)))
    height, width = tf.unstack(tf.reduce_max(sizes[refused : refused + 1], axis=0))
    message = f"image[{{}}] is {{}} x {{}} pixels, but 1 x 1 to {_MEGAPIXELS} megapixels are allowed: resize it"
    check_each = require(tf.reduce_all(is_allowed), message, refused, width, height)
    num_within = tf.reduce_sum(tf.cast(tf.cumsum(num_pixels) <= MAX_PIXELS, tf.int32))
    message = f"the images up to image[{{}}] have more than {_MEGAPIXELS} megapixels: send fewer per request"
    with tf.control_dependencies([check_each]):
        check_sum = require(tf.equal(num_within, num_files), message, num_within)
    with tf.control_dependencies([check_sum]):
        return tf.identity(files)


def _read_headers(files: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Detects the formats of files from their first bytes, and reads the sizes there.

    Returns:
        The files, string[n], PNGs reduced to what the decoder needs; their format as a number, int32[n]; height and
        width int32[n,2], valid for PNG and BMP only.
    """
    # Zeros pad shorter files.
    headers = tf.strings.substr(files, 0, _HEADER_LENGTH) + bytes(_HEADER_LENGTH)
    formats = tf.fill(tf.shape(files), _UNKNOWN)
    for number, magic in _MAGIC.items():
        formats = tf.where(tf.equal(tf.strings.substr(headers, 0, len(magic)), magic), number, formats)
    are_png = tf.equal(formats, _PNG)
    # A negative height means that the first row is the topmost.
    bmp_sizes = tf.abs(tf.io.decode_raw(tf.strings.substr(headers, _BMP_SIZE, 8), tf.int32, fixed_length=8))
    sizes = tf.reverse(tf.where(are_png[:, tf.newaxis], png_sizes(headers), bmp_sizes), [1])
    unknown = tf.where(formats == _UNKNOWN)[:, 0]
    check = require(tf.equal(tf.size(unknown), 0), "image{} is not a PNG, JPEG, GIF or BMP file", unknown)
    are_jpeg = tf.equal(formats, _JPEG)
    with tf.control_dependencies([check]):
        is_long = tf.reduce_sum(tf.where(are_png, tf.strings.length(files), 0)) > _SHORT_REQUEST
        has_jpeg = tf.reduce_any(are_jpeg)
    files = tf.cond(is_long, lambda: only_pixels(files, are_png), lambda: files)
    files = tf.cond(has_jpeg, lambda: check_scans(files, are_jpeg), lambda: files)
    return files, formats, sizes


def check_scans(files: tf.Tensor, are_jpeg: tf.Tensor) -> tf.Tensor:
    """Returns files, string[n], if the JPEGs among them have few scans, because each scan can change all pixels.

    Args:
        files: string[n].
        are_jpeg: bool[n]; other files are not searched.

    Raises:
        tf.errors.InvalidArgumentError: At run time: a JPEG has more than `MAX_SCANS` scans.
    """
    pieces = tf.strings.split(tf.where(are_jpeg, files, ""), _SCAN, maxsplit=_MAX_SCAN_MARKERS)
    # The first piece is the start of the file, which does not look like a scan.
    headers = tf.strings.substr(pieces.values + bytes(_SCAN_HEADER_LENGTH), 0, _SCAN_HEADER_LENGTH)
    are_scans = tf.reduce_any(tf.equal(headers[:, tf.newaxis], _SCAN_HEADERS), axis=1)
    num_scans = tf.math.segment_sum(tf.cast(are_scans, tf.int32), pieces.value_rowids())
    refused = tf.where((num_scans > MAX_SCANS) | (pieces.row_lengths() > _MAX_SCAN_MARKERS))[:, 0]
    message = f"image{{}} has more than {MAX_SCANS} scans: save it as a baseline JPEG"
    with tf.control_dependencies([require(tf.equal(tf.size(refused), 0), message, refused)]):
        return tf.identity(files)


def first_frame(gif: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts a GIF down to its first frame: the decoder keeps all extensions and frames in memory.

    Args:
        gif: string[], a GIF; a damaged one stays damaged.

    Returns:
        The GIF of that frame alone, string[]; height and width int32[2] of the frame or of the screen that shows it,
        whichever is larger.
    """
    # A zero ends every list of blocks, and so the search in a truncated file.
    content = tf.concat([tf.io.decode_raw(gif, tf.uint8), tf.zeros([_GIF_HEADER_LENGTH], tf.uint8)], 0)
    last = tf.size(content) - _GIF_HEADER_LENGTH
    after_screen = tf.minimum(_GIF_HEADER_LENGTH + _color_table_length(content[_SCREEN_FLAGS]), last)
    # The extensions follow as if a list of blocks had ended here.
    extensions = tf.concat([[tf.constant(0, tf.uint8)], content[after_screen:]], 0)
    frame = tf.minimum(after_screen + _skip_blocks(extensions, skip_extensions=True) - 1, last)
    data = frame + _FRAME_LENGTH + _color_table_length(content[frame + _FRAME_FLAGS]) + _CODE_SIZE_LENGTH
    data = tf.minimum(data, last)
    # Almost all blocks are as long as possible.
    num_full = tf.argmin(tf.equal(content[data::_LONGEST_BLOCK], _LONGEST_BLOCK - 1), output_type=tf.int32)
    rest = data + num_full * _LONGEST_BLOCK
    end = rest + _skip_blocks(content[rest:], skip_extensions=False)
    size = tf.maximum(_gif_size(content, _SCREEN_SIZE), _gif_size(content, frame + _FRAME_SIZE))
    parts = tf.strings.substr(gif, [0, frame], [after_screen, end - frame])
    return tf.strings.join([parts[0], parts[1], _TRAILER]), size


def _skip_blocks(content: tf.Tensor, *, skip_extensions: bool) -> tf.Tensor:
    """Returns where a list of blocks ends, int32[]; zeros must follow the content.

    Args:
        content: uint8[n], which starts with the length of the first block.
        skip_extensions: Whether to also skip extensions, and their blocks, that follow the list.
    """
    # The next length is always within the last window.
    last = tf.size(content) - 2

    def skip_window(start: tf.Tensor, exponent: int) -> tuple[tf.Tensor, tf.Tensor]:
        window = tf.cast(content[start : start + 2**exponent + 1], tf.int32)
        window, following = window[:-1], window[1:]
        size = tf.size(window)
        places = behind = tf.range(size)
        if skip_extensions:
            behind = tf.where(tf.equal(following, _EXTENSION), places + 1 + _LABEL_LENGTH, places)
        # For each byte, where its block would end if it were the length of one; links behind the window do not move.
        links = tf.where(window > 0, places + 1 + window, behind)
        links = tf.concat([links, tf.range(size, size + _LONGEST_BLOCK)], 0)
        # Each step doubles the number of blocks that a link skips.
        for _ in range(exponent):
            links = tf.gather(links, links)
        return tf.minimum(start + links[0], last), links[0] >= size

    start, _ = tf.while_loop(
        lambda _, searching: searching,
        lambda start, _: skip_window(start, _LONG_WINDOW_EXPONENT),
        skip_window(0, _FIRST_WINDOW_EXPONENT),
    )
    return start + 1


def _color_table_length(flags: tf.Tensor) -> tf.Tensor:
    num_colors = tf.bitwise.left_shift(2, tf.cast(flags & 7, tf.int32))
    return tf.where(flags >= 128, 3 * num_colors, 0)


def _gif_size(content: tf.Tensor, place: int | tf.Tensor) -> tf.Tensor:
    sides = tf.cast(content[place : place + 4], tf.int32)
    return tf.stack([sides[2] + 256 * sides[3], sides[0] + 256 * sides[1]])
