"""Draws a digit, and then what photos, scans and screenshots show around it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.trainer.image_normalization import normalize_images
from data.samples.draw_samples import draw_ink

Page = np.ndarray

PICTURES = Path(__file__).parent / "pictures"
MNIST = Path(__file__).parents[3] / "data" / "mnist.npz"

_PAPER, _PEN = 210.0, 50.0


@pytest.fixture(scope="module")
def normalize() -> Callable[[Page], Page]:
    graph = tf.function(
        lambda files: normalize_images(files, 28, 28)[0], input_signature=[tf.TensorSpec([None], tf.string)]
    )
    return lambda page: graph([tf.io.encode_png(page[..., np.newaxis].round().astype(np.uint8))])[0].numpy()


@pytest.fixture(scope="module")
def ink() -> Page:
    return draw_ink(3, "a", (200, 160), (55, 40, 80), 8)


@pytest.fixture(scope="module")
def nearest_digit() -> Callable[[Page], int]:
    """Finds the most frequent digit among the five images of MNIST that are most like an image."""
    with np.load(MNIST) as arrays:
        images, digits = (arrays[name][:10_000] for name in ("x_train", "y_train"))
    vectors = images.reshape(len(images), -1).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def nearest(image: Page) -> int:
        return int(np.bincount(digits[np.argsort(vectors @ image.ravel())[-5:]]).argmax())

    return nearest


def page_of(ink: Page) -> Page:
    return (_PAPER + (_PEN - _PAPER) * ink).astype(np.float32)


def hard_shadow(page: Page) -> None:
    y, x = np.mgrid[:200, :160]
    page *= 1 - 0.5 / (1 + np.exp(100 - x - 0.3 * y))


def soft_shadow(page: Page) -> None:
    y, x = np.mgrid[:200, :160]
    page *= 1 - 0.6 / (1 + np.exp((y + 0.2 * x - 110) / 6))


def shadow_of_a_hand(page: Page) -> None:
    y, x = np.mgrid[:200, :160]
    page[np.hypot(200 - y, 160 - x) < 70] *= 0.4


def desk(page: Page) -> None:
    page[:, :18] = 60


def desk_on_two_sides(page: Page) -> None:
    page[:22] = page[:, -18:] = 60


def sheet_on_a_desk(page: Page) -> None:
    page[:28] = page[-28:] = page[:, :20] = page[:, -20:] = 70


def tilted_sheet_on_a_desk(page: Page) -> None:
    y, x = np.mgrid[-1:1:200j, -1:1:160j]
    page[(abs(x + 0.08 * y) > 0.75) | (abs(y - 0.06 * x) > 0.75)] = 70


def title_bar(page: Page) -> None:
    page[:16] = 70
    page[6:10, 20:60:3] = 255


def frame_at_the_edge(page: Page) -> None:
    page[:3] = page[-3:] = page[:, :3] = page[:, -3:] = 0


def scan_edges(page: Page) -> None:
    page[:14] = page[-20:] = page[:, :9] = page[:, -12:] = 0


def frame_inside(page: Page) -> None:
    page[20:180, 20:22] = page[20:180, 138:140] = page[20:22, 20:140] = page[178:180, 20:140] = 20


def underline(page: Page) -> None:
    page[148:152, 20:140] = 40


def rules(page: Page) -> None:
    page[5::14] = np.minimum(page[5::14], 110)


def squares(page: Page) -> None:
    page[5::16] = np.minimum(page[5::16], 100)
    page[:, 3::16] = np.minimum(page[:, 3::16], 100)


SHADOWS = [hard_shadow, soft_shadow, shadow_of_a_hand]
EDGES = [
    desk,
    desk_on_two_sides,
    sheet_on_a_desk,
    tilted_sheet_on_a_desk,
    title_bar,
    frame_at_the_edge,
    scan_edges,
    frame_inside,
    underline,
    rules,
    squares,
]


@pytest.mark.parametrize("surround", [*SHADOWS, *EDGES], ids=lambda surround: surround.__name__)
def test_what_surrounds_dark_ink_is_not_ink(normalize: Any, ink: Page, surround: Callable[[Page], None]) -> None:
    page = page_of(ink)
    clean = normalize(page)
    surround(page)
    assert np.abs(normalize(page) - clean).mean() < 2


@pytest.mark.parametrize("surround", EDGES, ids=lambda surround: surround.__name__)
def test_what_surrounds_light_ink_is_not_ink(normalize: Any, ink: Page, surround: Callable[[Page], None]) -> None:
    page = page_of(ink)
    clean = normalize(255 - page)
    surround(page)
    assert np.abs(normalize(255 - page) - clean).mean() < 2


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("digit", range(10))
def test_a_digit_that_fills_the_image_is_ink(normalize: Any, digit: int, inverted: bool) -> None:
    ink = draw_ink(digit, "a", (200, 160), (45, 35, 110), 8)
    rows, columns = (np.flatnonzero((ink > 0).any(axis=axis)) for axis in (1, 0))
    page = 255 - page_of(ink) if inverted else page_of(ink)
    clean, found = normalize(page), normalize(page[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    # A center of mass halfway between two pixels moves to one or the other.
    shifted = [np.roll(found, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    assert min(np.abs(clean - image).mean() for image in shifted) < 6


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (40, 3), (5, 5)])
def test_tiny_images_do_not_fail(normalize: Any, size: tuple[int, int]) -> None:
    for page in (np.zeros(size), np.random.default_rng(7).uniform(0, 255, size)):
        assert np.isfinite(normalize(page.astype(np.float32))).all()


@pytest.mark.parametrize("picture", sorted(PICTURES.iterdir()), ids=lambda picture: picture.stem)
def test_pictures_look_like_the_digits_of_mnist(picture: Path, nearest_digit: Callable[[Page], int]) -> None:
    """Photos, scans and screenshots as users send them; the last character of a name is the digit."""
    images, are_several = normalize_images(tf.constant([picture.read_bytes()]), 28, 28)
    assert nearest_digit(images[0].numpy()) == int(picture.stem[-1])
    assert not are_several[0]


def test_digits_beside_each_other_are_several() -> None:
    one, two = (draw_ink(digit, "a", (280, 400), (60, left, 160), 14) for digit, left in ((1, 40), (2, 200)))
    for ink, expected in ((one + two, True), (two, False)):
        page = tf.io.encode_png(page_of(ink)[..., np.newaxis].astype(np.uint8))
        _, are_several = normalize_images(page[tf.newaxis], 28, 28)
        assert are_several.numpy().tolist() == [expected]
