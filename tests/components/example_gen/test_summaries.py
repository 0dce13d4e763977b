import numpy as np
import pyarrow as pa
import pytest

from components.example_gen.summaries import summarize, without_alpha

INK = ("ink_top", "ink_left", "ink_bottom", "ink_right", "ink_center_y", "ink_center_x")


def gray(*images: list[list[int]]) -> np.ndarray:
    return np.array(images, np.uint8)[..., np.newaxis]


def one_row(image: np.ndarray, *, with_ink: bool = False) -> dict[str, object]:
    return {name: values[0].as_py() for name, values in summarize(image[np.newaxis], with_ink=with_ink).items()}


def test_summaries_of_gray_images() -> None:
    # Two rows of five pixels. The ink of the second image is one column; 31 is not ink, but has mass.
    images = gray([[0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], [[0, 31, 0, 0, 0], [0, 0, 255, 0, 224]])
    summaries = {name: values.to_pylist() for name, values in summarize(images, with_ink=True).items()}
    assert summaries["height"] == [2, 2]
    assert summaries["width"] == [5, 5]
    assert summaries["channels"] == [1, 1]
    assert summaries["brightness_mean"] == [0, 51]
    # The mean of the squares is (31² + 255² + 224²) / 10 = 11,616.2; 51² is 2,601.
    assert summaries["brightness_deviation"] == [0, pytest.approx(9015.2**0.5)]
    assert summaries["background_share"] == [1, pytest.approx(0.7)]
    assert summaries["saturated_share"] == [0, pytest.approx(0.1)]
    assert {name: summaries[name][1] for name in INK} == {
        "ink_top": 0.5,
        "ink_left": pytest.approx(0.4),
        "ink_bottom": 1.0,
        "ink_right": 1.0,
        # Rows are centered at 0.25 and 0.75, columns at 0.1, 0.3, ...; the mass is 31, 255 and 224 of 510.
        "ink_center_y": pytest.approx((31 * 0.25 + 479 * 0.75) / 510),
        "ink_center_x": pytest.approx((31 * 0.3 + 255 * 0.5 + 224 * 0.9) / 510),
    }


@pytest.mark.parametrize(("brightest", "has_ink"), [(0, False), (31, False), (32, True), (255, True)])
def test_an_image_without_ink_has_no_ink_features(brightest: int, has_ink: bool) -> None:
    summaries = summarize(gray([[0, brightest]]), with_ink=True)
    assert [summaries[name].null_count for name in INK] == [0 if has_ink else 1] * len(INK)


def test_luminance_of_colors() -> None:
    summaries = one_row(np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8))
    assert summaries["channels"] == 3
    # Red, green and blue have the luminance of white together.
    assert summaries["brightness_mean"] == pytest.approx(2 * 255 / 4)
    assert summaries["saturated_share"] == 0.25
    assert summaries["background_share"] == 0
    assert "ink_top" not in summaries


def test_equal_channels_are_gray() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert one_row(image.repeat(3, axis=2), with_ink=True) == one_row(image, with_ink=True)


def test_sums_over_large_images_are_exact() -> None:
    image = np.full((1999, 1999, 1), 255, np.uint8)
    image[:1000] = 0
    summaries = one_row(image)
    share = 999 / 1999
    assert summaries["brightness_mean"] == pytest.approx(255 * share, rel=1e-6)
    assert summaries["brightness_deviation"] == pytest.approx(255 * (share * (1 - share)) ** 0.5, rel=1e-6)
    assert summaries["saturated_share"] == pytest.approx(share, rel=1e-6)


def test_types() -> None:
    summaries = summarize(gray([[0, 255]], [[0, 0]]), with_ink=True)
    whole_numbers = {name for name, values in summaries.items() if values.type == pa.int64()}
    assert whole_numbers == {"height", "width", "channels"}
    assert all(values.type == pa.float32() for name, values in summaries.items() if name not in whole_numbers)


def test_no_images() -> None:
    assert {len(values) for values in summarize(np.empty((0, 4, 3, 3), np.uint8), with_ink=True).values()} == {0}


@pytest.mark.parametrize(
    ("pixel", "on_white"),
    [
        ([7], [7]),
        ([7, 8, 9], [7, 8, 9]),
        ([100, 255], [100]),
        ([100, 0], [255]),
        ([255, 0, 100, 51], [255, 204, 224]),
    ],
)
def test_draws_alpha_on_white(pixel: list[int], on_white: list[int]) -> None:
    images = np.tile(np.array(pixel, np.uint8), (2, 3, 4, 1))
    result = without_alpha(images, with_ink_in_alpha=False)
    np.testing.assert_array_equal(result, np.tile(np.array(on_white, np.uint8), (2, 3, 4, 1)))
    assert result.dtype == np.uint8


@pytest.mark.parametrize(
    ("ink", "opacity", "expected"),
    [
        ([0, 0], [255, 100], [255, 100]),
        ([255, 255], [255, 100], [255, 100]),
        ([0, 31], [255, 100], [255, 100]),
        ([0, 32], [255, 255], [0, 32]),
        ([10, 10], [0, 0], [0, 0]),
    ],
    ids=["black", "white", "nearly one color", "a picture", "nothing"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_finds_the_ink_of_one_color_in_alpha(
    ink: list[int], opacity: list[int], expected: list[int], channels: int
) -> None:
    pixels = [[*[color] * channels, alpha] for color, alpha in zip(ink, opacity, strict=True)]
    transparent = [*[200] * channels, 0]
    images = np.array([[[*pixels, transparent]]], np.uint8)
    outside = 0 if expected == opacity else 255
    result = without_alpha(images, with_ink_in_alpha=True)
    np.testing.assert_array_equal(result[0, 0], np.repeat([[*expected, outside]], channels, axis=0).T)


def test_an_image_without_transparent_pixels_has_no_ink_in_alpha() -> None:
    images = np.full((1, 2, 2, 2), [0, 255], np.uint8)
    np.testing.assert_array_equal(without_alpha(images, with_ink_in_alpha=True), np.zeros((1, 2, 2, 1)))
