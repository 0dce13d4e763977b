import io

import numpy as np
from PIL import Image

from benchmarks.encoded_digits import ENCODINGS, LARGEST_SIDE, SMALLEST_SIDE, re_render


def digit() -> np.ndarray:
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 12:16] = 255
    return image


def opened(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file))


def test_re_rendered_digits_are_dark_on_light_and_of_any_size_and_place() -> None:
    random = np.random.default_rng(0)
    pages = [np.asarray(opened(re_render(digit(), random)), float) for _ in range(40)]
    assert len({page.shape for page in pages}) == 40
    assert all(SMALLEST_SIDE <= side <= LARGEST_SIDE for page in pages for side in page.shape)
    assert all(np.median(page) > 180 and np.percentile(page, 0.5) < 120 for page in pages)
    middles = [np.argwhere(page < 130).mean(axis=0) / page.shape for page in pages]
    assert np.std(middles, axis=0).min() > 0.05


def test_the_same_seed_renders_the_same() -> None:
    assert re_render(digit(), np.random.default_rng(3)) == re_render(digit(), np.random.default_rng(3))


def test_encodings_are_what_their_names_say() -> None:
    images = {name: opened(encode(digit())) for name, encode in ENCODINGS.items()}
    assert {name: (image.size[0], image.format, image.mode) for name, image in images.items()} == {
        "28x28, grey PNG": (28, "PNG", "L"),
        "280x280, grey PNG": (280, "PNG", "L"),
        "280x280, transparent PNG": (280, "PNG", "RGBA"),
        "400x400, grey PNG": (400, "PNG", "L"),
        "400x400, JPEG": (400, "JPEG", "RGB"),
    }
