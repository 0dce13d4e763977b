"""Compares the normalization in the graph with a reference in NumPy, SciPy and Pillow, and tests its invariances."""

import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from PIL.Image import Resampling
from scipy import ndimage, optimize

from components.trainer.image_normalization import normalize_images

PROJECT_ROOT = Path(__file__).parents[3]
Normalize = Callable[[list[np.ndarray]], np.ndarray]


@pytest.fixture(scope="module")
def normalize() -> Normalize:
    """Passes gray images as PNGs through the graph."""
    graph = tf.function(
        lambda files: normalize_images(files, 28, 28)[0], input_signature=[tf.TensorSpec([None], tf.string)]
    )

    def normalize_in_requests(images: list[np.ndarray]) -> np.ndarray:
        files = [png(image) for image in images]
        return np.concatenate([graph(tf.constant(files[start : start + 100])) for start in range(0, len(files), 100)])

    return normalize_in_requests


@pytest.fixture(scope="module")
def draw_ink() -> Callable[..., np.ndarray]:
    """Draws strokes like those of the samples."""
    spec = importlib.util.spec_from_file_location("draw_samples", PROJECT_ROOT / "data" / "samples" / "draw_samples.py")
    assert spec
    assert spec.loader
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.draw_ink


@pytest.fixture(scope="module")
def mnist() -> np.ndarray:
    with np.load(PROJECT_ROOT / "data" / "mnist.npz") as arrays:
        return arrays["x_test"][:300]


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def on_paper(ink: np.ndarray, paper: float = 255, pen: float = 0, noise: float = 0, shade: float = 0) -> np.ndarray:
    """Paper, darker toward the right and the corners, with ink and the noise of a camera."""
    height, width = ink.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - shade * (x + (x * x + y * y) / 2) / 2
    page = (paper + (pen - paper) * ink) * light + np.random.default_rng(5).normal(0, noise, ink.shape)
    return np.clip(np.round(page), 0, 255).astype(np.uint8)


def reference(image: np.ndarray) -> np.ndarray:
    """The steps of the graph with other tools: cumulative sums, SciPy's filters and solvers."""
    factor = -(-max(image.shape) // 256)
    luminance = image.astype(float)
    if factor > 1:
        luminance = np.asarray(Image.fromarray(image).convert("F").reduce(factor), float)
    ink, noise = reference_ink(luminance)
    blurred = ndimage.uniform_filter(ink, 3, mode="constant")
    strongest = blurred.max()
    if strongest <= max(16, 1.6 * noise):
        return np.zeros((28, 28))
    kept = blurred > np.clip(1.5 * noise, 0.12 * strongest, 0.4 * strongest)
    certain = kept & (ink > np.clip(3 * noise, 0.03 * strongest, 0.4 * strongest))
    box = ndimage.find_objects(certain.astype(int))[0]
    ink = np.where(kept, ink, 0)
    scale = 20 / max(side.stop - side.start for side in box)
    edges = []
    for middle, side in zip(ndimage.center_of_mass(ink), box, strict=True):
        room = np.floor(28 - scale * (side.stop - side.start) + 1e-6)
        corner = np.clip(np.round(14.5 - scale * (middle + 0.5 - side.start)), 0, room)
        edges.append(side.start + (np.arange(29) - corner) / scale)
    small = area_means(ink, *edges)
    return np.minimum(255, small * 255 / np.sort(small, axis=None)[-16:].mean())


def area_means(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Means between edges; the outside of the image is zero."""
    for axis, edges in enumerate((rows, columns)):
        sums = np.insert(np.cumsum(image, axis=axis), 0, 0, axis=axis)
        places = np.arange(sums.shape[axis])
        at_edges = [np.interp(edges, places, line) for line in np.moveaxis(sums, axis, -1)]
        image = np.moveaxis(np.diff(at_edges, axis=-1), -1, axis) / (edges[1] - edges[0])
    return image


def reference_ink(luminance: np.ndarray) -> tuple[np.ndarray, float]:
    paper, residuals = reference_paper(luminance)
    depth = paper - luminance
    border = np.concatenate([depth[0], depth[-1], depth[:, 0], depth[:, -1]])
    is_paper = residuals.max() < 16 + np.abs(np.diff(border)).mean() and abs(border.mean()) < 10
    is_drawing = np.mean(residuals < 16) > 0.3 and abs(asymmetry(depth)) > 0.99
    if (is_paper or is_drawing) and np.mean(np.abs(depth) > 32) < 0.7:
        return np.clip(depth * np.sign(asymmetry(depth)), 0, None), 1.25 * np.abs(border).mean()
    return reference_ink_in_uneven_light(luminance)


def reference_ink_in_uneven_light(luminance: np.ndarray) -> tuple[np.ndarray, float]:
    """Compares each pixel with its surroundings; none of the images here fills its page."""
    side = min(luminance.shape)
    around = 2 * round(0.15 * side) + 1
    inside = ndimage.uniform_filter(np.ones_like(luminance), around, mode="constant")
    if asymmetry(ndimage.uniform_filter(luminance, around, mode="constant") / inside - luminance) < 0:
        luminance = 255 - luminance
    window = (round(0.2 * side),) * 2
    lightest = sliding_window_view(ndimage.uniform_filter(luminance, 3), window).max(axis=(2, 3))
    outside = np.pad(lightest, window[0] - 1, constant_values=255)
    paper = sliding_window_view(outside, window).min(axis=(2, 3))
    depth = 255 * (1 - luminance / np.maximum(paper, 32))
    depth -= cell_quantile(depth, 0.25)
    return np.clip(depth, 0, None), 1.25 * cell_quantile(np.abs(depth), 0.25)


def asymmetry(depth: np.ndarray) -> float:
    return float(np.sum(depth * np.abs(depth)) / np.sum(depth**2))


def cell_quantile(image: np.ndarray, share: float) -> float:
    return float(np.sort(cell_means(image), axis=None)[round(share * 256) - 1])


def cell_means(image: np.ndarray) -> np.ndarray:
    return area_means(image, *(np.linspace(0, length, 17) for length in image.shape))


def reference_paper(luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The luminance of the paper, and how far the cells at the border differ from it."""
    height, width = luminance.shape
    cells = cell_means(luminance)
    y, x = np.mgrid[-15:16:2, -15:16:2] / 16
    border = np.maximum(np.abs(y), np.abs(x)) > 0.9
    values, terms = cells[border], surface_terms(y[border], x[border])
    surface = np.linalg.lstsq(terms, values, rcond=None)[0]
    if np.abs(terms @ surface - values).max() >= 16:
        start = [np.sort(values)[len(values) // 2], 0, 0]
        plane = optimize.least_squares(lambda p: terms[:, :3] @ p - values, start, loss="cauchy", f_scale=20)
        surface = np.append(plane.x, [0, 0, 0])
    residuals = np.abs(terms @ surface - values)
    y, x = np.meshgrid(
        (np.arange(height) + 0.5) / height * 2 - 1, (np.arange(width) + 0.5) / width * 2 - 1, indexing="ij"
    )
    return surface_terms(y, x) @ surface, residuals


def surface_terms(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(x), y, x, y * y, x * x, y * x], axis=-1)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Nearly all pixels are within 1.5 levels; single ones near a threshold may differ."""
    difference = np.abs(found - expected)
    assert np.mean(difference > 1.5) < 0.004, (difference.max(), np.mean(difference > 1.5))
    assert difference.mean() < 0.1


@pytest.mark.parametrize(("variant", "seed"), [("a", 0), ("b", 1)])
def test_drawings_are_normalized_like_the_reference(
    normalize: Normalize, draw_ink: Callable[..., np.ndarray], variant: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    images = []
    for number in range(60):
        # Both average multiples of two in the same way.
        height, width = (int(2 * side) for side in random.integers(20, 200, 2))
        side = min(height, width) * random.uniform(0.4, 1.0)
        corner = random.uniform(0, 1, 2) * (height - side, width - side)
        pen = max(1.0, side * random.uniform(0.01, 0.16))
        ink = draw_ink(number % 10, variant, (height, width), (*corner, side), pen)
        paper, dark = random.uniform(180, 255), random.uniform(0, 100)
        shade, noise = random.choice([0, 0.3]), random.choice([0, 4, 12])
        image = on_paper(ink, paper, dark, noise, shade)
        images.append(image if random.random() < 0.6 else 255 - image)
    for found, image in zip(normalize(images), images, strict=True):
        assert_close(found, reference(image))


def test_rendered_digits_are_normalized_like_the_reference(normalize: Normalize, mnist: np.ndarray) -> None:
    random = np.random.default_rng(2)
    images = []
    for digit in mnist:
        side = int(random.integers(60, 200))
        large = np.asarray(Image.fromarray(digit).resize((side, side), Resampling.BICUBIC)) / 255
        ink = np.pad(large, [(int(random.integers(0, 20)), int(random.integers(0, 20))) for _ in range(2)])
        images.append(on_paper(ink, 230, 40, noise=random.uniform(0, 10)))
    for found, image in zip(normalize(images), images, strict=True):
        assert_close(found, reference(image))


def test_most_images_of_mnist_do_not_change(normalize: Normalize, mnist: np.ndarray) -> None:
    difference = np.abs(normalize(list(mnist)) - mnist).max(axis=(1, 2))
    assert np.mean(difference < 10) > 0.9


@pytest.mark.parametrize("noise", [0, 8])
def test_inverted_images_return_the_same(
    normalize: Normalize, draw_ink: Callable[..., np.ndarray], noise: float
) -> None:
    image = on_paper(draw_ink(5, "a", (150, 150), (20, 30, 100), 6), 220, 50, noise)
    found, inverted = normalize([image, 255 - image])
    np.testing.assert_allclose(found, inverted, atol=0.01)


def test_position_and_size_do_not_matter(normalize: Normalize, draw_ink: Callable[..., np.ndarray]) -> None:
    for digit in range(10):
        small = on_paper(draw_ink(digit, "b", (100, 100), (10, 10, 80), 6))
        moved = on_paper(draw_ink(digit, "b", (240, 140), (150, 40, 80), 6))
        large = on_paper(draw_ink(digit, "b", (1600, 1600), (160, 160, 1280), 96))
        plain, plain_moved, plain_large = normalize([small, moved, large])
        np.testing.assert_allclose(plain, plain_moved, atol=0.01)
        # A center of mass halfway between two pixels moves to one or the other.
        shifted = [np.roll(plain_large, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        assert min(np.abs(plain - image).mean() for image in shifted) < 5


def test_thin_strokes_do_not_vanish(normalize: Normalize, draw_ink: Callable[..., np.ndarray]) -> None:
    thin, thick = normalize([on_paper(draw_ink(0, "a", (400, 400), (30, 30, 340), pen)) for pen in (1, 40)])
    assert (thin > 100).sum() > 25
    assert (thick > 100).sum() > 2 * (thin > 100).sum()


@pytest.mark.parametrize("corner", [(0, 0), (-10, -14), (34, 60)])
def test_ink_on_the_border_is_not_paper(
    normalize: Normalize, draw_ink: Callable[..., np.ndarray], corner: tuple[int, int]
) -> None:
    (found,) = normalize([on_paper(draw_ink(7, "b", (160, 160), (*corner, 120), 16), 210, 40, noise=4, shade=0.2)])
    assert 40 < (found > 128).sum() < 160
    assert (found < 32).sum() > 500


def test_a_long_tail_is_not_cut_off(normalize: Normalize) -> None:
    page = np.full((300, 200), 255, np.uint8)
    page[40:80, 80:120] = 0
    page[80:240, 98:102] = 0
    (found,) = normalize([page])
    # Pixels are rounded later; processors differ in the last bits.
    rows = np.flatnonzero(found.max(axis=1).round())
    assert (rows[0], rows[-1]) == (8, 27)


def test_specks_are_ignored(normalize: Normalize, draw_ink: Callable[..., np.ndarray]) -> None:
    clean = on_paper(draw_ink(4, "a", (280, 280), (80, 80, 120), 10))
    dusty = clean.copy()
    dusty[10:12, 20:22] = dusty[250:252, 260:262] = 0
    expected, found = normalize([clean, dusty])
    np.testing.assert_allclose(found, expected, atol=0.5)


@pytest.mark.parametrize("paper", [0, 90, 255])
@pytest.mark.parametrize(("noise", "shade"), [(0, 0), (12, 0), (22, 0), (5, 0.3)])
def test_a_blank_page_stays_blank(normalize: Normalize, paper: float, noise: float, shade: float) -> None:
    for shape in ((28, 28), (1, 1), (300, 200)):
        assert not normalize([on_paper(np.zeros(shape), paper, noise=noise, shade=shade)]).any()


def test_an_image_does_not_depend_on_the_others(normalize: Normalize, mnist: np.ndarray) -> None:
    images = [mnist[0], np.zeros((300, 40), np.uint8), np.pad(mnist[1], 200)]
    together = normalize(images)
    for image, found in zip(images, together, strict=True):
        np.testing.assert_array_equal(found, normalize([image])[0])


def test_an_empty_batch(normalize: Normalize) -> None:
    images, are_several = normalize_images(tf.constant([], tf.string), 28, 28)
    assert (images.shape, are_several.shape) == ((0, 28, 28), (0,))


@pytest.mark.parametrize("shape", [(28, 56), (56, 28), (64, 64), (14, 14)])
def test_other_sizes_show_the_same_drawing(
    normalize: Normalize, draw_ink: Callable[..., np.ndarray], shape: tuple[int, int]
) -> None:
    """The ink fits a box of 20/28 of the shorter side; its center of mass is the center of the image."""
    page = on_paper(draw_ink(3, "a", (200, 160), (30, 20, 120), 12))
    (expected,) = normalize([page])
    found = normalize_images(tf.constant([png(page)]), *shape)[0][0].numpy()
    assert found.shape == shape
    scale = min(shape) / 28
    for axis, length in enumerate(shape):
        profile = found.sum(axis=1 - axis)
        extent = np.ptp(np.flatnonzero(found.max(axis=1 - axis) > 64)) + 1
        original = np.ptp(np.flatnonzero(expected.max(axis=1 - axis) > 64)) + 1
        assert extent == pytest.approx(original * scale, abs=1.5)
        assert np.average(np.arange(length) + 0.5, weights=profile) == pytest.approx(length / 2 + 0.5, abs=0.6)
    assert (found > 128).sum() == pytest.approx((expected > 128).sum() * scale**2, rel=0.15)
    assert (found == 255).any()
