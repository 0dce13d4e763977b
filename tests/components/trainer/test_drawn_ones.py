import numpy as np
import pytest

from components.trainer.drawn_ones import draw_ones


@pytest.mark.parametrize(("height", "width", "box"), [(28, 28, 20), (56, 56, 40), (28, 42, 20)])
def test_ones_are_scaled_and_centered_as_those_of_mnist(height: int, width: int, box: int) -> None:
    images = draw_ones(200, height, width, seed=0)
    assert (images.shape, images.dtype) == ((200, height, width), np.uint8)
    assert (images.max(axis=(1, 2)) > 150).all()
    extents = [np.ptp(np.argwhere(image > 127), axis=0).max() + 1 for image in images]
    assert box - 2 <= min(extents)
    assert max(extents) <= box + 1
    mass = images.sum(axis=(1, 2))
    rows = (images.sum(axis=2) @ (np.arange(height) + 0.5)) / mass
    columns = (images.sum(axis=1) @ (np.arange(width) + 0.5)) / mass
    np.testing.assert_allclose(rows, height / 2, atol=1.5 * box / 20)
    np.testing.assert_allclose(columns, width / 2, atol=1.5 * box / 20)


def test_shapes_differ() -> None:
    images = draw_ones(200, 28, 28, seed=0)
    widths = np.array([np.ptp(np.argwhere(image > 127)[:, 1]) + 1 for image in images])
    assert widths.min() < 6
    assert widths.max() > 13
    inks = images.sum(axis=(1, 2)) / 255
    assert inks.min() < 40
    assert inks.max() > 90
    last_rows = np.stack([image[np.flatnonzero(image.max(axis=1) > 127)[-1]] for image in images])
    has_base = (last_rows > 127).sum(axis=1) > 6
    assert 0.2 < has_base.mean() < 0.8


def test_ends_are_flat_or_round() -> None:
    widths = []
    for ink in draw_ones(200, 112, 112, seed=0) > 127:
        last = np.flatnonzero(ink.any(axis=1))[-1]
        widths.append((ink[last].sum(), ink[last - 15].sum()))
    at_end, of_stem = np.array(widths).T
    ratios = (at_end / of_stem)[at_end < 1.3 * of_stem]
    assert len(ratios) > 80
    assert 0.35 < (ratios > 0.9).mean() < 0.65
    assert 0.35 < (ratios < 0.8).mean() < 0.65


def test_the_seed_decides() -> None:
    assert (draw_ones(5, 28, 28, seed=3) == draw_ones(5, 28, 28, seed=3)).all()
    assert (draw_ones(5, 28, 28, seed=3) != draw_ones(5, 28, 28, seed=4)).any()
