"""Finds the ink of a drawing in the graph, even in uneven light and among frames, rules and other things."""

import numpy as np
import tensorflow as tf

from components.features import MAX_PIXEL
from components.image_decoding import sample_columns
from components.trainer.ink_components import extents, find_drawing
from components.trainer.morphology import close_image, dilate_columns, open_columns
from components.trainer.resampling import resample_to

# Least contrast of the strongest ink, blurred, to the paper: in luminance, and in standard deviations of the noise.
_MIN_INK = 16.0
_MIN_INK_TO_NOISE = 1.6
# Threshold of ink, blurred and sharp: a multiple of the noise within bounds relative to the strongest ink.
_BLURRED_TO_NOISE = 1.5
_SHARP_TO_NOISE = 3.0
_BLURRED_FLOOR = (0.12, 0.4)
_SHARP_FLOOR = (0.03, 0.4)
# Ratio of the standard deviation to the mean absolute deviation of Gaussian noise.
_DEVIATION_TO_SIGMA = 1.25

# At least so many pixels of a row, if it has them, show whether it is a rule or part of a strip.
_NUM_SAMPLES = 64

# Up to this size, an image on even paper is a digit like those of MNIST, with nothing around it.
_SIZE_OF_DIGITS = 64

# The paper is estimated from the border cells of this grid.
_GRID = 16
_LARGEST_DEVIATION = 16.0
_INK_DEVIATION = 20.0
_NUM_ROUNDS = 4

# Paper is even if the border is near the surface fitted to it, and so is enough of the image.
_LARGEST_BORDER_CONTRAST = 10.0
_INK_CONTRAST = 32.0
_LARGEST_INK_SHARE = 0.7
_SHARE_OF_PAPER_AT_BORDER = 0.3
_ONLY_INK = 0.99

# An edge strip is uniform and ends at once, near the edge.
_EDGE_SHARE = 0.2
_EDGE_ROWS = 2
_UNLIKE_EDGE = 0.75
_LIKE_EDGE = 0.1

# Relative to the shorter side: wider than most strokes, narrower than most shadows.
_WINDOW = 0.2
_SURROUNDINGS = 0.15
_DARKEST_PAPER = 32.0
_PAPER_SHARE = 0.25
# Light ink on dark paper is a drawing; in a photo with this much light it is paper beside a shadow.
_DARK = 64.0
_WEIGHT_OF_MEDIAN = 0.5

# A rule is ink in nearly all columns, and thin.
_RULE_COVERAGE = 0.93
_RULE_CONTRAST = 8.0
_RULE_FLOOR = 0.08
_MIN_RULES = 2
_RULE_HEIGHT = 40
_MIN_RULE_HEIGHT = 4

# The image is searched, then the sheet of paper that it shows, if any. A sheet covers so much of the image, of the
# cells at its border and of its inside.
_MAX_SEARCHES = 2
_SHEET_GRID = 6
_LEAST_SHEET = 0.2
_SHEET_AT_BORDER = 0.4
_SHEET_FILL = 0.7
# Relative to the gaps at its tilted sides.
_INSET_TO_GAPS = 0.5


def _surface_terms() -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers of the border cells int[60], and the terms of a quadratic surface there float32[60,6]."""
    places = (np.arange(_GRID) + 0.5) / _GRID * 2 - 1
    y, x = np.meshgrid(places, places, indexing="ij")
    border = np.maximum(np.abs(x), np.abs(y)) == places[-1]
    y, x = y[border], x[border]
    return np.flatnonzero(border), np.stack([np.ones_like(x), y, x, y * y, x * x, y * x], axis=-1).astype(np.float32)


_BORDER_CELLS, _BORDER_TERMS = _surface_terms()
_LEAST_SQUARES = np.linalg.pinv(_BORDER_TERMS)
_PLANE_TERMS = _BORDER_TERMS[:, :3]
_PLANE_PRODUCTS = (_PLANE_TERMS[:, :, np.newaxis] * _PLANE_TERMS[:, np.newaxis]).reshape(-1, 9)


def trim_edges(luminance: tf.Tensor) -> tf.Tensor:
    """Cuts off uniform strips at the edges, as of a frame or a scan, where two sides that meet have one.

    A strip along a single side may be a stroke of a digit that fills the image.
    """
    top, bottom = _edge_strips(luminance)
    left, right = _edge_strips(tf.transpose(luminance))
    height, width = tf.unstack(tf.shape(luminance))
    meet = (top + bottom > 0) & (left + right > 0)
    return tf.cond(meet, lambda: luminance[top : height - bottom, left : width - right], lambda: luminance)


def _edge_strips(luminance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the height of the strips at the top and at the bottom, int32[], zero if there is none."""
    height = tf.shape(luminance)[0]
    # Strips end within these rows.
    num_rows = tf.minimum(tf.cast(_EDGE_SHARE * tf.cast(height, tf.float32), tf.int32) + 1, height)
    sample = sample_columns(luminance, _NUM_SAMPLES)

    def strip(rows: tf.Tensor) -> tf.Tensor:
        contrast = tf.abs(rows - tf.reduce_mean(rows[0]))
        unlike_edge = tf.reduce_mean(tf.cast(contrast > _INK_CONTRAST, tf.float32), axis=1)
        end = tf.argmax(unlike_edge > _UNLIKE_EDGE, output_type=tf.int32)
        ends_at_once = unlike_edge[tf.maximum(end - _EDGE_ROWS, 0)] < _LIKE_EDGE
        # The row where it ends may be a blend.
        return tf.where((end > 0) & ends_at_once, end + 1, 0)

    return strip(sample[:num_rows]), strip(sample[height - num_rows :][::-1])


def find_ink(luminance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Finds what differs from the paper, darker or lighter, whichever there is more of.

    The border of the image shows how light and how noisy the paper is; if it is not all paper, the surroundings of each
    pixel do. Rules, frames, underlines and what lies along the edge are not ink. If a sheet of paper lies on a desk,
    its inside is searched again.

    Args:
        luminance: float32[h,w], from `decode_contrast`.

    Returns:
        The ink float32[i,j] in the searched part, zero where there is none; bool[i,j], where there certainly is some;
        and bool[], whether there are several drawings.
    """

    def search(part: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, ...]:
        ink, certain, are_several = _find_ink(part)
        share = tf.reduce_mean(tf.cast(certain, tf.float32))
        may_be_sheet = (tf.reduce_max(tf.shape(part)) > _SIZE_OF_DIGITS) & (share > _LEAST_SHEET)
        inside = tf.cond(may_be_sheet, lambda: _inside_of_sheet(part, certain), lambda: part[:0])
        return inside, ink, certain, are_several, tf.size(inside) > 0

    unknown, scalar = tf.TensorShape([None, None]), tf.TensorShape([])
    _, ink, certain, are_several, _ = tf.while_loop(
        lambda *state: state[-1],
        search,
        (luminance, luminance, luminance > MAX_PIXEL, False, True),
        shape_invariants=(unknown, unknown, unknown, scalar, scalar),
        maximum_iterations=_MAX_SEARCHES,
        parallel_iterations=1,
    )
    return ink, certain, are_several


def _inside_of_sheet(image: tf.Tensor, ink: tf.Tensor) -> tf.Tensor:
    """Returns what the image float32[h,w] shows inside a sheet of paper, or no rows if the ink bool[h,w] is no sheet.

    A sheet is large, and so are its four corners; those of digits are round, or are missing. It may be tilted by some
    degrees.
    """
    shape = tf.shape(ink)
    (top, bottom), (left, right) = extents(ink)
    rows, columns = bottom - top, right - left
    cells = resample_to(tf.cast(ink[top:bottom, left:right], tf.float32), (_SHEET_GRID, _SHEET_GRID))
    border = tf.concat([cells[0], cells[-1], cells[:, 0], cells[:, -1]], axis=0)
    # The gaps in the corners of the rectangle around a tilted sheet.
    gaps = tf.cast(tf.maximum(rows, columns), tf.float32) * (1 - tf.reduce_mean(cells))
    inset = tf.cast(_INSET_TO_GAPS * gaps, tf.int32) + 1
    inside = slice(top + inset, bottom - inset), slice(left + inset, right - inset)
    fill = tf.reduce_mean(tf.cast(ink[inside], tf.float32))
    is_large = (2 * rows >= shape[0]) & (2 * columns >= shape[1])
    is_sheet = is_large & (tf.reduce_min(border) > _SHEET_AT_BORDER) & (fill > _SHEET_FILL)
    return tf.cond(is_sheet, lambda: image[inside], lambda: image[:0])


def _find_ink(luminance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    paper, residuals = _fit_paper(luminance)
    depth = paper - luminance
    border = tf.concat([depth[0], depth[-1], depth[:, 0], depth[:, -1]], axis=0)
    asymmetry = _asymmetry(depth)
    is_even = _is_even(depth, border, residuals, asymmetry)

    def ink_on_even_paper() -> tuple[tf.Tensor, tf.Tensor]:
        noise = _DEVIATION_TO_SIGMA * tf.reduce_mean(tf.abs(border))
        return tf.nn.relu(depth * tf.sign(asymmetry)), noise

    ink, noise = tf.cond(is_even, ink_on_even_paper, lambda: _ink_in_uneven_light(luminance))
    is_digit = is_even & (tf.reduce_max(tf.shape(luminance)) <= _SIZE_OF_DIGITS)
    ink = tf.cond(is_digit, lambda: ink, lambda: _remove_rules(ink))
    blurred = _blur(ink)
    strongest = tf.reduce_max(blurred)
    has_ink = strongest > tf.maximum(_MIN_INK, _MIN_INK_TO_NOISE * noise)
    kept = has_ink & (blurred > _floor(strongest, _BLURRED_TO_NOISE * noise, _BLURRED_FLOOR))
    certain = kept & (ink > _floor(strongest, _SHARP_TO_NOISE * noise, _SHARP_FLOOR))
    drawing, are_several = tf.cond(is_digit, lambda: (tf.ones_like(certain), False), lambda: find_drawing(ink, certain))
    return tf.where(kept & drawing, ink, 0.0), certain & drawing, are_several


def _asymmetry(depth: tf.Tensor) -> tf.Tensor:
    """Returns 1 if all is darker than the paper, -1 if all is lighter.

    Squared, so that a small digit weighs more than the shades of a large paper.
    """
    return tf.math.divide_no_nan(tf.reduce_sum(depth * tf.abs(depth)), tf.reduce_sum(tf.square(depth)))


def _blur(ink: tf.Tensor) -> tf.Tensor:
    """Averages over 3x3 pixels, which strokes survive and specks do not."""
    return _mean_of_nine(tf.pad(ink, [[1, 1], [1, 1]]))


def _mean_of_nine(padded: tf.Tensor) -> tf.Tensor:
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9


def _floor(strongest: tf.Tensor, noise: tf.Tensor, shares: tuple[float, float]) -> tf.Tensor:
    least, most = shares
    return tf.clip_by_value(noise, least * strongest, most * strongest)


def _fit_paper(luminance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Estimates the luminance of the paper from the border.

    Uneven light changes smoothly: a quadratic surface follows it. Where the border does not fit one, there is ink on
    it, and the rest only supports a plane.

    Returns:
        The luminance at each pixel float32[h,w], and how far the cells at the border differ from it float32[60,1].
    """
    border = tf.gather(tf.reshape(resample_to(luminance, (_GRID, _GRID)), [-1]), _BORDER_CELLS)[:, tf.newaxis]
    quadratic = tf.matmul(_LEAST_SQUARES, border)
    smooth = tf.reduce_max(tf.abs(tf.matmul(_BORDER_TERMS, quadratic) - border)) < _LARGEST_DEVIATION
    surface = tf.cond(smooth, lambda: quadratic, lambda: _fit_plane(border))
    level, by_y, by_x, by_yy, by_xx, by_yx = tf.unstack(surface[:, 0])
    size = tf.unstack(tf.cast(tf.shape(luminance), tf.float32))
    y, x = ((tf.range(length) + 0.5) * (2 / length) - 1 for length in size)
    powers_y, powers_x = (tf.stack([tf.ones_like(place), place, tf.square(place)], axis=1) for place in (y, x))
    factors = tf.stack([tf.stack([level, by_x, by_xx]), tf.stack([by_y, by_yx, 0.0]), tf.stack([by_yy, 0.0, 0.0])])
    paper = tf.matmul(powers_y, tf.matmul(factors, powers_x, transpose_b=True))
    return paper, tf.abs(tf.matmul(_BORDER_TERMS, surface) - border)


def _fit_plane(border: tf.Tensor) -> tf.Tensor:
    """Fits a plane by iteratively reweighted least squares, in which distant cells count less."""
    median = tf.math.top_k(border[:, 0], len(_BORDER_CELLS) // 2).values[-1]
    plane = tf.stack([[median], [0.0], [0.0]])
    for _ in range(_NUM_ROUNDS):
        weights = 1 / (tf.square(border - tf.matmul(_PLANE_TERMS, plane)) + _INK_DEVIATION**2)
        products = tf.reshape(tf.matmul(weights, _PLANE_PRODUCTS, transpose_a=True), [3, 3])
        plane = tf.linalg.solve(products, tf.matmul(_PLANE_TERMS, weights * border, transpose_a=True))
    return tf.pad(plane, [[0, 3], [0, 0]])


def _is_even(depth: tf.Tensor, border: tf.Tensor, residuals: tf.Tensor, asymmetry: tf.Tensor) -> tf.Tensor:
    """Returns whether the border shows the paper; else there is a shadow, a frame or something else on it."""
    # The cells of a small image are noisy.
    deviation = _LARGEST_DEVIATION + tf.reduce_mean(tf.abs(border[1:] - border[:-1]))
    is_flat = tf.abs(tf.reduce_mean(border)) < _LARGEST_BORDER_CONTRAST
    is_paper = is_flat & (tf.reduce_max(residuals) < deviation)
    # Ink touches the border: nothing is lighter than the paper if the ink is dark.
    paper_at_border = tf.reduce_mean(tf.cast(residuals < _LARGEST_DEVIATION, tf.float32))
    is_drawing = (paper_at_border > _SHARE_OF_PAPER_AT_BORDER) & (tf.abs(asymmetry) > _ONLY_INK)
    ink_share = tf.reduce_mean(tf.cast(tf.abs(depth) > _INK_CONTRAST, tf.float32))
    return (is_paper | is_drawing) & (ink_share < _LARGEST_INK_SHARE)


def _ink_in_uneven_light(luminance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the ink relative to the light, float32[h,w], and the noise, float32[].

    Strokes filled from their surroundings show the light of the paper, which follows the edge of a shadow.
    """
    dark_on_light = tf.where(_is_dark_on_light(luminance), luminance, MAX_PIXEL - luminance)
    length = _share_of_side(luminance, _WINDOW)
    less_noisy = _mean_of_nine(tf.pad(dark_on_light, [[1, 1], [1, 1]], mode="SYMMETRIC"))
    paper = tf.maximum(close_image(less_noisy, length), _DARKEST_PAPER)
    depth = MAX_PIXEL * (1 - dark_on_light / paper)
    # A quarter of the image at least is paper without ink.
    depth -= _cell_quantile(depth, _PAPER_SHARE)
    return tf.nn.relu(depth), _DEVIATION_TO_SIGMA * _cell_quantile(tf.abs(depth), _PAPER_SHARE)


def _is_dark_on_light(luminance: tf.Tensor) -> tf.Tensor:
    """Returns whether the ink is dark: compared with its surroundings, it differs more than the paper does.

    A digit that fills the image surrounds some paper. But then most of the image is paper.
    """
    around = _asymmetry(_mean_around(luminance, _share_of_side(luminance, _SURROUNDINGS)) - luminance)
    median = _cell_quantile(luminance, 0.5)
    overall = _asymmetry(median - luminance)
    is_clear = (overall > 0) | (median < _DARK)
    return around + tf.where(is_clear, _WEIGHT_OF_MEDIAN * overall, 0.0) >= 0


def _share_of_side(image: tf.Tensor, share: float) -> tf.Tensor:
    return tf.maximum(tf.cast(tf.round(share * tf.cast(tf.reduce_min(tf.shape(image)), tf.float32)), tf.int32), 1)


@tf.function(autograph=False)
def _cell_quantile(image: tf.Tensor, share: float) -> tf.Tensor:
    """Returns the quantile of the means of the cells of the grid, float32[]."""
    means = tf.reshape(resample_to(image, (_GRID, _GRID)), [-1])
    return -tf.math.top_k(-means, round(share * _GRID**2)).values[-1]


def _mean_around(image: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
    """Averages over a square around each pixel, as much of it as is inside the image."""

    def down(image: tf.Tensor) -> tf.Tensor:
        sums = tf.pad(tf.cumsum(image, axis=0), [[1, 0], [0, 0]])
        rows = tf.range(tf.shape(image)[0])
        starts, ends = tf.maximum(rows - radius, 0), tf.minimum(rows + radius, rows[-1]) + 1
        return (tf.gather(sums, ends) - tf.gather(sums, starts)) / tf.cast(ends - starts, tf.float32)[:, tf.newaxis]

    return tf.transpose(down(tf.transpose(down(image))))


def _remove_rules(ink: tf.Tensor) -> tf.Tensor:
    """Removes thin lines that cross the whole image, if there are several parallel ones."""
    for _ in range(2):
        ink = tf.transpose(_remove_horizontal_rules(ink))
    return ink


# A function, so that the graph holds it once for both directions.
@tf.function(autograph=False)
def _remove_horizontal_rules(ink: tf.Tensor) -> tf.Tensor:
    height = tf.shape(ink)[0]
    sample = sample_columns(ink, _NUM_SAMPLES)
    # They may be tilted by a few pixels.
    level = tf.maximum(_RULE_CONTRAST, _RULE_FLOOR * tf.reduce_max(sample))
    coverage = tf.reduce_mean(tf.cast(dilate_columns(sample) > level, tf.float32), axis=1, keepdims=True)
    is_rule = tf.cast(coverage > _RULE_COVERAGE, tf.float32)
    num_rules = tf.reduce_sum(tf.nn.relu(is_rule - tf.pad(is_rule, [[1, 0], [0, 0]])[:-1]))
    thin = tf.minimum(tf.maximum(height // _RULE_HEIGHT, _MIN_RULE_HEIGHT), height)

    def removed() -> tf.Tensor:
        return tf.where(dilate_columns(is_rule) > 0, open_columns(ink, thin), ink)

    has_rules = (num_rules >= _MIN_RULES) & (tf.reduce_mean(is_rule) < 0.5)
    return tf.cond(has_rules, removed, lambda: ink)
