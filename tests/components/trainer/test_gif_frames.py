import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageSequence

from components.trainer.gif_frames import first_frame


def animation(num_frames: int, **options: object) -> bytes:
    random = np.random.default_rng(0)
    first, *others = (Image.fromarray(random.integers(0, 256, (60, 50), dtype=np.uint8)) for _ in range(num_frames))
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{}, {"comment": b"three" * 200}, {"duration": 40, "loop": 0}])
@pytest.mark.parametrize("num_frames", [1, 4])
def test_only_the_first_picture_is_left(options: dict[str, object], num_frames: int) -> None:
    gif = animation(num_frames, **options)
    cut, size = first_frame(tf.constant(gif))
    assert size.numpy().tolist() == [60, 50]
    with Image.open(io.BytesIO(cut.numpy())) as picture, Image.open(io.BytesIO(gif)) as whole:
        frames = [sum(1 for _ in ImageSequence.Iterator(each)) for each in (picture, whole)]
        assert frames == [1, num_frames]
        whole.seek(0)
        picture.seek(0)
        np.testing.assert_array_equal(picture.convert("RGB"), whole.convert("RGB"))


def test_every_beginning_of_a_gif_ends_the_search() -> None:
    gif = animation(1, comment=b"seven" * 10)
    cut = tf.function(first_frame, input_signature=[tf.TensorSpec([], tf.string)])
    for length in range(4, len(gif), 37):
        shortened, _ = cut(tf.constant(gif[:length]))
        # Whether it is a picture is for the decoder to say.
        assert shortened.numpy().startswith(b"GIF8")
        assert len(shortened.numpy()) <= length + 1
