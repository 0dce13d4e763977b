"""Reduces PNGs to their pixels in the graph, because libpng also inflates texts, color profiles and surplus data.

It processes all files of a request at once, because one op can cost as much as all checks of a small image may.
"""

import tensorflow as tf

from components.trainer.request_limits import require

# Layout of a PNG: https://www.w3.org/TR/png-3/
_SIZE, _DEPTH, _FIRST_CHUNK = 16, 24, 33
_FIELD = 4
"""Bytes of the length, the name and the checksum of a chunk."""
_DATA = b"IDAT"
_END = b"\0\0\0\0IEND\xaeB`\x82"
_CHANNELS = (1, 0, 3, 1, 2, 0, 4, 0)

# Compression can enlarge noise by an eighth, and each row has a header. Interlacing adds rows, too.
_MAX_DEFLATED, _BYTES_PER_ROW, _BYTES_PER_IMAGE = 1.125, 5.0, 64.0
_MAX_SHARE, _MIN_RATE, _MIN_STORED = 0.25, 256.0, 0.8
_NUM_SAMPLES, _SAMPLE_LENGTH = 16, 64


def png_sizes(headers: tf.Tensor) -> tf.Tensor:
    """Returns width and height int32[n,2] from the first 24 bytes of PNGs, string[n]."""
    return _numbers(tf.strings.substr(headers, _SIZE, 2 * _FIELD), 2)


def only_pixels(files: tf.Tensor, are_png: tf.Tensor) -> tf.Tensor:
    """Drops all chunks of PNGs but the header, palette, transparent color and pixels.

    Args:
        files: string[n]; damaged PNGs stay damaged.
        are_png: bool[n]; other files do not change.

    Raises:
        tf.errors.InvalidArgumentError: At run time: a PNG has more data than its pixels need.
    """
    start, end, num_bytes = _find_data(files)
    padded = files + bytes(_FIRST_CHUNK)
    num_raw_bytes = _count_raw_bytes(padded)
    is_surplus = num_bytes > _MAX_DEFLATED * num_raw_bytes + _BYTES_PER_IMAGE
    refused = tf.where(are_png & (is_surplus | _inflates(files, start, end, num_bytes, num_raw_bytes)))[:, 0]
    message = "image{} has more data than its pixels need: save it again"
    check = require(tf.equal(tf.size(refused), 0), message, refused)
    with tf.control_dependencies([check]):
        header = tf.strings.substr(padded, 0, _FIRST_CHUNK)
    heads = tf.strings.substr(files, tf.zeros_like(start), start)
    data = tf.strings.substr(files, start, end - start)
    pngs = tf.strings.join([header, _chunks(heads, b"PLTE"), _chunks(heads, b"tRNS"), data, _END])
    return tf.where(are_png, pngs, files)


def _find_data(files: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Finds the first chunk of pixels in each PNG, and those that directly follow it.

    Returns:
        Where they start and end, and the sum of their lengths, int32[n] and float32[n]; arbitrary in other files.
    """
    pieces = tf.strings.split(files, _DATA)
    texts, rows, first = pieces.values, pieces.value_rowids(), pieces.row_starts()
    numbers = tf.range(tf.size(texts, tf.int64))
    sizes = tf.strings.length(texts) + _FIELD
    ends = tf.cumsum(sizes)
    # The name follows every piece of a file but the last. It may also occur in the pixels; then no chunk leads there.
    is_chunk = tf.not_equal(numbers, tf.gather(pieces.row_limits(), rows) - 1)
    starts = ends - 2 * _FIELD
    lengths = tf.maximum(_last_numbers(texts), 0)
    following = starts + lengths + 3 * _FIELD
    target = tf.minimum(tf.searchsorted(starts, following), tf.size(texts) - 1)
    leads_on = (
        is_chunk
        & tf.gather(is_chunk, target)
        & tf.equal(tf.gather(starts, target), following)
        & tf.equal(tf.gather(rows, target), rows)
    )
    num_leading = tf.math.unsorted_segment_sum(tf.cast(leads_on, tf.int32), target, tf.size(texts))
    is_reached = is_chunk & (tf.equal(numbers, tf.gather(first, rows)) | (num_leading > 0))
    num_files = tf.size(files)
    last = tf.math.unsorted_segment_min(tf.where(is_reached & ~leads_on, numbers, numbers[-1]), rows, num_files)
    is_pixels = is_reached & (numbers <= tf.gather(last, rows))
    num_bytes = tf.math.unsorted_segment_sum(tf.where(is_pixels, tf.cast(lengths, tf.float32), 0), rows, num_files)
    file_starts = tf.gather(ends - sizes, first)
    places = tf.gather(starts, first) - file_starts, tf.gather(following, last) - file_starts
    start, end = (tf.clip_by_value(place, 0, tf.strings.length(files)) for place in places)
    return start, end, num_bytes


def _count_raw_bytes(files: tf.Tensor) -> tf.Tensor:
    """Returns how many bytes the pixels of PNGs have before compression, float32[n]."""
    width, height = tf.unstack(tf.cast(png_sizes(files), tf.float32), axis=1)
    fields = tf.cast(tf.io.decode_raw(tf.strings.substr(files, _DEPTH, 2), tf.uint8, fixed_length=2), tf.int32)
    bits = fields[:, 0] * tf.gather(_CHANNELS, fields[:, 1] % len(_CHANNELS))
    return height * (width * tf.cast(bits, tf.float32) / 8 + _BYTES_PER_ROW)


def _inflates(
    files: tf.Tensor, start: tf.Tensor, end: tf.Tensor, num_bytes: tf.Tensor, num_raw_bytes: tf.Tensor
) -> tf.Tensor:
    """Returns whether data inflates to far more than the pixels, bool[n]: libpng inflates what follows them, too.

    Long runs of a color deflate to about one byte per 1,000 pixels, always the same byte.
    """
    offsets = tf.range(_NUM_SAMPLES) * ((end - start)[:, tf.newaxis] // _NUM_SAMPLES)
    places = start[:, tf.newaxis] + offsets
    samples = tf.strings.substr(files[:, tf.newaxis], places, tf.fill(tf.shape(places), _SAMPLE_LENGTH))
    values = tf.cast(tf.io.decode_raw(samples, tf.uint8, fixed_length=_SAMPLE_LENGTH), tf.int32)
    rows = tf.reshape(values, [-1, _NUM_SAMPLES * _SAMPLE_LENGTH])
    share = tf.reduce_max(tf.math.bincount(rows, minlength=256, maxlength=256, axis=-1), axis=1) / tf.shape(rows)[1]
    most = _MAX_SHARE + num_raw_bytes / (_MIN_RATE * tf.maximum(num_bytes, 1.0))
    # An encoder may store pixels without compression.
    is_deflated = num_bytes < _MIN_STORED * num_raw_bytes
    return is_deflated & (num_bytes > _NUM_SAMPLES * _SAMPLE_LENGTH) & (tf.cast(share, tf.float32) > most)


def _chunks(heads: tf.Tensor, name: bytes) -> tf.Tensor:
    """Returns the first chunk of that name in each text, or an empty string; string[n]."""
    before, behind = tf.unstack(tf.strings.split(heads, name, maxsplit=1).to_tensor("", shape=(None, 2)), axis=1)
    end = tf.maximum(_last_numbers(before), 0) + _FIELD
    content = tf.strings.substr(behind, tf.zeros_like(end), end)
    length = tf.strings.substr(bytes(_FIELD) + before, -_FIELD, _FIELD)
    return tf.where(tf.equal(tf.strings.length(before), tf.strings.length(heads)), "", length + name + content)


def _last_numbers(texts: tf.Tensor) -> tf.Tensor:
    return _numbers(tf.strings.substr(bytes(_FIELD) + texts, -_FIELD, _FIELD), 1)[:, 0]


def _numbers(texts: tf.Tensor, count: int) -> tf.Tensor:
    return tf.io.decode_raw(texts, tf.int32, little_endian=False, fixed_length=count * _FIELD)
