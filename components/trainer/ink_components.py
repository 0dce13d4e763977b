"""Separates the drawing from other ink in the graph, by the connected components of the ink."""

from typing import NamedTuple

import tensorflow as tf

from components.trainer.morphology import dilate

# Cells of the longer side; smaller gaps between components may be closed.
_GRID = 96
# Most images take four to six.
_MAX_STEPS = 16
_NUM_COMPONENTS = 16

# A bar, a desk or the edge of a scan takes this share of an edge of the image.
_EDGE_COVERAGE = 0.9
# Shares of the image: neither what touches its edge and stays so near, nor so thin a line across it, is the drawing.
_EDGE_SHARE = 0.13
_LINE_SHARE = 0.15
# Shares of the image and of the frame: the smallest drawing.
_LEAST_REACH = 0.1
_FRAMED_REACH = 0.25
# How far the center of mass of a frame may be from its middle, as a share of its size.
_OFF_CENTER = 0.15
# No digit is so much wider than high.
_FLAT = 3.5
# Ink that touches the edge counts less: it may be a shadow.
_WEIGHT_AT_EDGE = 0.15
# Shares of the drawing: specks have less ink, things apart are smaller and not so near, underlines are as wide.
_LEAST_MASS = 0.03
_LARGE_REACH = 0.5
_NEAR = 0.15
_UNDERLINE_WIDTH = 0.7
# Share of its rows that another drawing beside it has, too.
_SIMILAR_HEIGHT = 0.5
# Shares of the drawing: so many others of this mass and reach are a text or a pattern.
_NOTABLE_MASS = 0.1
_NOTABLE_REACH = 0.25
_MANY = 3


class _Components(NamedTuple):
    """The components with the most ink; n is `_NUM_COMPONENTS` or less.

    Attributes:
        numbers: int32[n], numbers of the components.
        mass: float32[n], sum of the ink; 0 if there are fewer components.
        centers: float32[n,2], row and column of the center of mass.
        starts: float32[n,2], first row and column.
        ends: float32[n,2], behind the last row and column.
        contacts: float32[n,4], shares of the edges that they touch: top, left, bottom and right.
    """

    numbers: tf.Tensor
    mass: tf.Tensor
    centers: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    contacts: tf.Tensor


def extents(mask: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Returns where the first True of bool[h,w] begins and the last ends along each axis, int32[]; all if none is."""
    found = []
    for axis in range(2):
        taken = tf.cast(tf.reduce_any(mask, axis=1 - axis), tf.int8)
        behind = tf.argmax(taken[::-1], output_type=tf.int32)
        found.append((tf.argmax(taken, output_type=tf.int32), tf.size(taken) - behind))
    return found


def find_drawing(ink: tf.Tensor, certain: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the largest drawing and its parts; without one, all ink is kept.

    Specks, what lies along the edge of the image, underlines, frames and circles around the drawing, and small things
    apart from it are not part of it. Another component of similar size is kept.

    Args:
        ink: float32[h,w].
        certain: bool[h,w], where there certainly is ink.

    Returns:
        bool[h,w], where ink belongs to the drawing, and bool[], whether there are several: another one of similar size
        beside it, or many others, as in a text or a pattern.
    """
    height, width = tf.unstack(tf.shape(ink))
    side = (tf.maximum(height, width) + _GRID - 1) // _GRID
    num_rows, num_columns = (height + side - 1) // side, (width + side - 1) // side
    padded = tf.pad(tf.where(certain, ink, 0.0), [[0, num_rows * side - height], [0, num_columns * side - width]])
    # Two sums of neighbors are faster than one over two axes.
    rows = tf.reduce_sum(tf.reshape(padded, [num_rows, side, -1]), axis=1)
    cells = tf.reduce_sum(tf.reshape(rows, [num_rows, num_columns, side]), axis=2)
    labels = _label(cells > 0)
    components = _measure(cells, labels)
    is_part, has_others, are_several = _choose(components, tf.cast(tf.shape(cells), tf.float32))

    def parts() -> tf.Tensor:
        places = components.numbers[:, tf.newaxis]
        kept = tf.scatter_nd(places, tf.cast(is_part, tf.float32), [tf.size(cells) + 1])
        of_drawing = tf.gather(kept, labels)
        of_others = tf.cast((labels > 0) & (of_drawing == 0), tf.float32)
        # With the less certain ink around it.
        nearby = dilate(of_drawing) - of_others
        return tf.repeat(tf.repeat(nearby, side, axis=0), side, axis=1)[:height, :width] > 0

    return tf.cond(has_others, parts, lambda: tf.ones_like(certain)), are_several


def _label(mask: tf.Tensor) -> tf.Tensor:
    """Numbers the components that touch at sides or corners, int32[h,w]; 0 is outside.

    Each cell names another one of its component, at first itself. In each step, the cell that it names takes the
    largest name around it, and then each takes the name of the one that it names (Shiloach and Vishkin 1982,
    https://doi.org/10.1016/0196-6774(82)90008-6).
    """
    height, width = tf.unstack(tf.shape(mask))
    (top, bottom), (left, right) = extents(mask)
    inner = mask[top:bottom, left:right]
    shape = tf.shape(inner)
    inside = tf.cast(tf.reshape(inner, [-1]), tf.int32)
    places = tf.where(inside > 0)[:, 0]
    size = tf.size(inner) + 1

    def merge(names: tf.Tensor, changes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        around = tf.gather(tf.reshape(dilate(tf.reshape(names[1:], shape)), [-1]), places)
        largest = tf.math.unsorted_segment_max(around, tf.gather(names, places + 1), size)
        merged = tf.maximum(names, largest)
        for _ in range(2):
            merged = tf.gather(merged, merged)
        return merged, tf.reduce_any(merged != names)

    names, _ = tf.while_loop(
        lambda names, changes: changes,
        merge,
        (tf.pad(inside * tf.range(1, size), [[1, 0]]), True),
        maximum_iterations=_MAX_STEPS,
        parallel_iterations=1,
    )
    return tf.pad(tf.reshape(names[1:], shape), [[top, height - bottom], [left, width - right]])


def _measure(cells: tf.Tensor, labels: tf.Tensor) -> _Components:
    num_labels, shape = tf.size(labels) + 1, tf.cast(tf.shape(labels), tf.float32)
    places = tf.where(labels > 0)
    of_cells, ink = tf.gather_nd(labels, places), tf.gather_nd(cells, places)[:, tf.newaxis]
    corners = tf.cast(places, tf.float32)
    weighted = tf.concat([ink, ink * (corners + 0.5)], axis=-1)
    touching = tf.concat([corners == 0, corners == shape - 1], axis=-1)
    sums = tf.math.unsorted_segment_sum(
        tf.concat([weighted, tf.cast(touching, tf.float32)], axis=-1), of_cells, num_labels
    )
    mass, numbers = tf.math.top_k(sums[:, 0], tf.minimum(_NUM_COMPONENTS, num_labels))
    sums = tf.gather(sums, numbers)
    centers = tf.math.divide_no_nan(sums[:, 1:3], mass[:, tf.newaxis])
    extremes = tf.math.unsorted_segment_max(tf.concat([-corners, corners + 1], axis=-1), of_cells, num_labels)
    # Labels that do not exist have the least number that there is.
    extremes = tf.where(mass[:, tf.newaxis] > 0, tf.gather(extremes, numbers), 0.0)
    contacts = sums[:, 3:] / tf.gather(shape, [1, 0, 1, 0])
    return _Components(numbers, mass, centers, -extremes[:, :2], extremes[:, 2:], contacts)


def _choose(components: _Components, shape: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns which components are parts of the drawing, bool[n], and whether there are others and several drawings.

    Args:
        components: From `_measure`.
        shape: float32[2], rows and columns of the grid.
    """
    _, mass, centers, starts, ends, contacts = components
    exists = mass > 0
    sizes = ends - starts
    reach = tf.reduce_max(sizes, axis=1)
    touches = contacts > 0
    at_edge = tf.reduce_any(touches, axis=1)
    near_edge = tf.reduce_any((ends <= _EDGE_SHARE * shape) | (starts >= (1 - _EDGE_SHARE) * shape), axis=1)
    crosses = tf.stack([touches[:, 1] & touches[:, 3], touches[:, 0] & touches[:, 2]], axis=1)
    is_line = tf.reduce_any(crosses & (sizes <= _LINE_SHARE * shape), axis=1)
    is_edge = (tf.reduce_max(contacts, axis=1) >= _EDGE_COVERAGE) | (at_edge & near_edge) | is_line

    holds = tf.reduce_all((starts[:, tf.newaxis] < starts) & (ends[:, tf.newaxis] > ends), axis=-1)
    is_framed = exists & ~is_edge & (reach >= _FRAMED_REACH * reach[:, tf.newaxis])
    # The parts of a broken four may hold each other, too.
    is_centered = tf.reduce_all(tf.abs(centers - (starts + ends) / 2) <= _OFF_CENTER * sizes, axis=1)
    is_frame = is_centered & tf.reduce_any(holds & is_framed, axis=1)

    is_flat = sizes[:, 1] >= _FLAT * sizes[:, 0]
    is_other = is_edge | is_frame
    is_plausible = exists & ~is_other & ~is_flat & (reach >= _LEAST_REACH * tf.reduce_max(shape))
    weights = tf.where(at_edge, _WEIGHT_AT_EDGE, 1.0)
    drawing = tf.argmax(tf.where(is_plausible, mass * weights, -1.0), output_type=tf.int32)

    gaps = tf.reduce_max(tf.maximum(starts[drawing] - ends, starts - ends[drawing]), axis=1)
    is_apart = (gaps > _NEAR * reach[drawing]) & (is_flat | (reach < _LARGE_REACH * reach[drawing]))
    is_below = starts[:, 0] >= ends[drawing, 0] - 1
    is_underline = is_flat & is_below & (sizes[:, 1] >= _UNDERLINE_WIDTH * sizes[drawing, 1])
    is_other |= is_underline | is_apart | (mass < _LEAST_MASS * mass[drawing]) | (at_edge & ~at_edge[drawing])
    is_part = exists & ~is_other | (tf.range(tf.size(mass)) == drawing)
    found = tf.reduce_any(is_plausible)
    # The parts of a broken digit are above each other, or overlap.
    beside = tf.maximum(starts[drawing, 1] - ends[:, 1], starts[:, 1] - ends[drawing, 1]) >= 0
    common_rows = tf.minimum(ends[:, 0], ends[drawing, 0]) - tf.maximum(starts[:, 0], starts[drawing, 0])
    is_similar = is_part & beside & (common_rows >= _SIMILAR_HEIGHT * sizes[drawing, 0])
    is_rest = exists & ~is_part
    is_notable = is_rest & (mass >= _NOTABLE_MASS * mass[drawing]) & (reach >= _NOTABLE_REACH * reach[drawing])
    are_many = tf.reduce_sum(tf.cast(is_notable, tf.int32)) >= _MANY
    return is_part, found & tf.reduce_any(is_rest), found & (tf.reduce_any(is_similar) | are_many)
