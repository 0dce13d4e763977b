import numpy as np

from components.robustness.edges import canny_edges
from components.robustness.pixels import Images

# A step of 13 gives a gradient of about 0.15: an edge only where it continues one of 0.2 or more.
WEAK, STRONG = 13, 255


def edges(*images: np.ndarray) -> Images:
    return canny_edges(np.stack(images), np.random.default_rng(0))


def step(top: int, bottom: int) -> np.ndarray:
    """An upright edge between columns 13 and 14, whose height goes from `top` to `bottom`."""
    image = np.zeros((28, 28), np.uint8)
    image[:, 14:] = np.linspace(top, bottom, 28)[:, np.newaxis]
    return image


def test_an_edge_is_drawn_beside_the_step() -> None:
    drawn = edges(step(STRONG, STRONG))[0]
    assert np.unique(drawn).tolist() == [0, 255]
    rows, columns = np.nonzero(drawn)
    assert set(columns) <= {13, 14}
    assert set(rows) == set(range(1, 27))


def test_the_inside_of_strokes_is_empty() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[6:22, 6:22] = 255
    drawn = edges(image)[0]
    assert not drawn[9:19, 9:19].any()
    assert drawn[9:19, 4:9].any(axis=1).all()


def test_weak_edges_are_drawn_where_they_continue_strong_ones() -> None:
    assert not edges(step(WEAK, WEAK)).any()
    continued = edges(step(2 * WEAK, WEAK))[0]
    assert continued[1:27, 13:15].any(axis=1).all()


def test_edges_end_where_they_become_too_weak() -> None:
    # 0.1 is reached at a step of about 9.
    fading = edges(step(2 * WEAK, 0))[0]
    assert fading[1:15, 13:15].any(axis=1).all()
    assert not fading[20:].any()


def test_an_edge_does_not_continue_in_another_image() -> None:
    drawn = edges(step(STRONG, STRONG), step(WEAK, WEAK), step(STRONG, STRONG))
    assert not drawn[1].any()
    assert drawn[0].any()


def test_the_border_has_no_edges() -> None:
    drawn = edges(np.full((28, 28), 255, np.uint8))
    assert not drawn.any()
