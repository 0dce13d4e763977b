"""Cuts a GIF down to its first picture: TensorFlow decodes all of an animation, whatever memory that takes.

The layout is that of https://www.w3.org/Graphics/GIF/spec-gif89a.txt.
"""

import tensorflow as tf

_SCREEN_SIZE = 6
_SCREEN_FLAGS = 10
_HEADER_LENGTH = 13
_EXTENSION = 0x21
_LABEL_LENGTH = 2
_FRAME_SIZE = 5
_FRAME_FLAGS = 9
_FRAME_LENGTH = 10
_CODE_SIZE_LENGTH = 1
_TRAILER = b";"


def first_frame(gif: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts off what follows the first picture.

    Args:
        gif: string[], a GIF; what is damaged stays damaged.

    Returns:
        The GIF of that picture alone, string[]; and height and width int32[2] of the picture or of the screen that it
        is shown on, whichever is larger.
    """
    # A zero ends every list of blocks, and so the search in a file that ends too early.
    content = tf.concat([tf.cast(tf.io.decode_raw(gif, tf.uint8), tf.int32), tf.zeros([_HEADER_LENGTH], tf.int32)], 0)
    last = tf.size(content) - _HEADER_LENGTH

    def skip_extension(start: tf.Tensor) -> tuple[tf.Tensor]:
        return (tf.minimum(_skip_blocks(content, start + _LABEL_LENGTH, last), last),)

    after_screen = tf.minimum(_HEADER_LENGTH + _colour_table_length(content[_SCREEN_FLAGS]), last)
    (frame,) = tf.while_loop(lambda start: tf.equal(content[start], _EXTENSION), skip_extension, (after_screen,))
    data = frame + _FRAME_LENGTH + _colour_table_length(content[frame + _FRAME_FLAGS]) + _CODE_SIZE_LENGTH
    end = _skip_blocks(content, data, last)
    size = tf.maximum(_size(content, _SCREEN_SIZE), _size(content, frame + _FRAME_SIZE))
    return tf.strings.substr(gif, 0, end) + _TRAILER, size


def _skip_blocks(content: tf.Tensor, start: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    def skip(block: tf.Tensor) -> tuple[tf.Tensor]:
        return (tf.minimum(block + 1 + content[block], last),)

    (end,) = tf.while_loop(lambda block: content[block] > 0, skip, (tf.minimum(start, last),))
    return end + 1


def _colour_table_length(flags: tf.Tensor) -> tf.Tensor:
    num_colours = tf.bitwise.left_shift(2, tf.bitwise.bitwise_and(flags, 7))
    return tf.where(flags >= 128, 3 * num_colours, 0)


def _size(content: tf.Tensor, place: int | tf.Tensor) -> tf.Tensor:
    width, height = content[place : place + 2], content[place + 2 : place + 4]
    return tf.stack([height[0] + 256 * height[1], width[0] + 256 * width[1]])
