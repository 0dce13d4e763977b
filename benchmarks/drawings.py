"""Measures the accuracy of a pushed model on drawings, scans, screenshots and photos of digits, by kind."""

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from benchmarks.mnist import Digit, encode, load_mnist
from benchmarks.processes import exit_with, measure_model, model_option
from components.verdict import render_table
from data.samples.draw_samples import draw_ink

MIN_MEAN_ACCURACY = 0.97
MIN_ACCURACY = 0.85

Random = np.random.Generator
Plane = NDArray[np.floating[Any]]
"""float[h,w]: luminance, 0 to 255, or ink, 0 to 1."""

_SEED = 23
_STROKES_SHARE = 1 / 3
_WHITE = 255.0
_SQUARE = (280, 280)
_PHOTO = (640, 480)
_TINT = (1.0, 0.98, 0.92)


@click.command()
@model_option
@click.option("--images", default=200, show_default=True, help="Images per kind.")
def main(model: Path, images: int) -> None:
    """Measure the accuracy per kind; exit with 1 if a target is missed."""
    accuracies = measure_model("drawings", str(model), str(images))
    click.echo(render_table(("kind", "accuracy"), [(kind, f"{value:.1%}") for kind, value in accuracies.items()]))
    click.echo(f"\nMean: {_mean(accuracies):.1%}")
    exit_with(missed_targets(accuracies))


def missed_targets(accuracies: Mapping[str, float]) -> Iterator[str]:
    """Yields each missed target, as a sentence."""
    if (mean := _mean(accuracies)) < MIN_MEAN_ACCURACY:
        yield f"the mean is {mean:.1%}, expected at least {MIN_MEAN_ACCURACY:.0%}."
    for kind, accuracy in accuracies.items():
        if accuracy < MIN_ACCURACY:
            yield f"{kind}: {accuracy:.1%}, expected at least {MIN_ACCURACY:.0%}."


def _mean(accuracies: Mapping[str, float]) -> float:
    return sum(accuracies.values()) / len(accuracies)


def draw_kind(kind: str, num_images: int) -> tuple[list[bytes], NDArray[np.int64]]:
    """Draws digits of a kind, the same ones for each kind.

    Args:
        kind: A key of `KINDS`.
        num_images: How many.

    Returns:
        Image files and their digits int64[num_images].
    """
    images, labels = load_mnist("test")
    random = np.random.default_rng(_SEED)
    files, digits = [], []
    for number in random.permutation(len(images))[:num_images]:
        digit = int(labels[number])
        files.append(KINDS[kind](_Pen(images[number], digit, random), random))
        digits.append(digit)
    return files, np.array(digits)


class _Pen:
    """Draws one digit: its image in MNIST, enlarged, or the strokes of a sample."""

    def __init__(self, image: Digit, digit: int, random: Random) -> None:
        self._image, self._digit, self._random = image, digit, random
        self._has_strokes = random.random() < _STROKES_SHARE

    def draw(self, size: tuple[int, int], least: float = 0.45, most: float = 0.75, middle: float = 0.5) -> Plane:
        """Returns ink near the middle; `least` and `most` are shares of the shorter side that the digit may take."""
        random = self._random
        side = int(min(size) * random.uniform(least, most))
        spread = 0.08 * min(size)
        top, left = (
            int(np.clip((length - side) * middle + random.uniform(-spread, spread), 0, length - side))
            for length in size
        )
        if self._has_strokes:
            pen = side * random.uniform(0.05, 0.12)
            inset = pen / 2 + 1
            return draw_ink(
                self._digit, str(random.choice(["a", "b"])), size, (top + inset, left + inset, side - 2 * inset), pen
            )
        rows, columns = (np.flatnonzero(self._image.max(axis=axis)) for axis in (1, 0))
        cropped = Image.fromarray(self._image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        scale = side / max(cropped.size)
        width, height = (max(1, round(scale * length)) for length in cropped.size)
        cropped = cropped.resize((width, height), Image.Resampling.BICUBIC)
        ink = np.zeros(size)
        ink[top : top + height, left : left + width] = np.asarray(cropped) / _WHITE
        return ink


def _page(ink: Plane, paper: float = 255, pen: float = 0) -> Plane:
    return paper + (pen - paper) * ink


def _gray(page: Plane) -> bytes:
    return encode(Image.fromarray(_bytes(page)))


def _bytes(page: Plane) -> NDArray[np.uint8]:
    return np.clip(np.round(page), 0, 255).astype(np.uint8)


def _photo(page: Plane, random: Random, noise: float = 4) -> bytes:
    """A JPEG of a page, float[h,w] or float[h,w,3], in uneven light, as a camera sees it."""
    height, width = page.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle, strength = random.uniform(0, 2 * np.pi), random.uniform(0.02, 0.12)
    light = 1 - strength * (1 + np.cos(angle) * x + np.sin(angle) * y)
    lit = page.reshape(height, width, -1) * light[..., np.newaxis]
    seen = ndimage.gaussian_filter(lit, (0.8, 0.8, 0)) + random.normal(0, noise, lit.shape)
    return encode(Image.fromarray(_bytes(seen * _TINT)), "JPEG")


def _paper(pen: _Pen, random: Random) -> Plane:
    return _page(pen.draw(_PHOTO, 0.35, 0.6), random.uniform(190, 225), random.uniform(40, 80))


def _shadowed(page: Plane, random: Random, softness: float, darkness: float) -> Plane:
    """Half in the shadow of an edge near the middle."""
    height, width = page.shape
    y, x = np.mgrid[:height, :width]
    angle = random.uniform(0, 2 * np.pi)
    across = np.cos(angle) * (x - width / 2) + np.sin(angle) * (y - height / 2) - random.uniform(-0.25, 0.25) * width
    return page * (1 - darkness / (1 + np.exp(-across / (softness * width))))


def _ruled(page: Plane, random: Random, color: float, squares: bool = False) -> Plane:
    ruled = page.copy()
    pitch, width = int(random.integers(30, 50)), int(random.integers(1, 3))
    for axis in range(1 + squares):
        lines = np.moveaxis(ruled, axis, 0)
        for start in range(int(random.integers(pitch)), len(lines), pitch):
            lines[start : start + width] = np.minimum(lines[start : start + width], color)
    return ruled


def _desk(page: Plane, random: Random, share: float, num_sides: int) -> Plane:
    covered = page.copy()
    for turn in random.permutation(4)[:num_sides]:
        side = np.rot90(covered, turn)
        width = int(share * random.uniform(0.6, 1.2) * len(side))
        side[:width] = random.uniform(40, 90) + random.normal(0, 3, side[:width].shape)
    return covered


def _sheet(pen: _Pen, random: Random) -> Plane:
    """A sheet of paper, slightly tilted, on a desk."""
    page = _page(pen.draw(_PHOTO, 0.3, 0.5), random.uniform(190, 225), random.uniform(40, 80))
    y, x = np.mgrid[-1 : 1 : page.shape[0] * 1j, -1 : 1 : page.shape[1] * 1j]
    tilt, height, width = random.uniform(-0.08, 0.08), random.uniform(0.65, 0.8), random.uniform(0.7, 0.85)
    is_desk = (abs(y - tilt * x) > height) | (abs(x + tilt * y) > width)
    grain = ndimage.gaussian_filter1d(random.normal(0, 20, page.shape), 15, axis=1)
    return np.where(is_desk, random.uniform(40, 110) + grain, page)


def _below_text(pen: _Pen, random: Random) -> Plane:
    page = Image.fromarray(_bytes(_page(pen.draw(_PHOTO, 0.3, 0.45), 215, 50)))
    lines = ["".join(random.choice(list("aceimnorstu "), 70)) for _ in range(2)]
    ImageDraw.Draw(page).multiline_text((10, random.uniform(10, 40)), "\n".join(lines), fill=70)
    return np.asarray(page, dtype=float)


def _yellow(pen: _Pen) -> Plane:
    ink = pen.draw(_PHOTO, 0.35, 0.6)[..., np.newaxis]
    return np.array([235, 235, 235]) * (1 - ink) + np.array([250, 235, 60]) * ink


def _framed(page: Plane, color: float, width: int, inset: int = 0) -> Plane:
    framed = np.full_like(page, color)
    framed[:inset] = framed[len(page) - inset :] = framed[:, :inset] = framed[:, page.shape[1] - inset :] = page[0, 0]
    inner = slice(inset + width, -inset - width)
    framed[inner, inner] = page[inner, inner]
    return framed


def _underlined(pen: _Pen, random: Random) -> bytes:
    ink = pen.draw(_SQUARE, 0.5, 0.65)
    rows, columns = (np.flatnonzero(ink.max(axis=axis) > 0.5) for axis in (1, 0))
    top = min(rows[-1] + int(random.integers(12, 30)), 268)
    middle, half = int(columns.mean()), int(random.integers(60, 110))
    ink[top : top + int(random.integers(4, 10)), max(0, middle - half) : middle + half] = 1
    return _gray(_page(ink))


def _bar(pen: _Pen, random: Random) -> bytes:
    page = _page(pen.draw((300, 400), 0.3, 0.6))
    page[: int(random.integers(12, 36))] = random.uniform(30, 120)
    return _gray(page)


def _broken(pen: _Pen, random: Random) -> bytes:
    ink = pen.draw(_SQUARE)
    rows = np.flatnonzero(ink.max(axis=1) > 0.5)
    cut = int(rows[0] + random.uniform(0.3, 0.7) * len(rows))
    ink[cut : cut + 5] = 0
    return _gray(_page(ink))


def _specks(pen: _Pen, random: Random) -> bytes:
    page = _page(pen.draw(_SQUARE))
    for y, x in random.integers(0, 274, (8, 2)):
        page[y : y + 4, x : x + 4] = 0
    return _gray(page)


def _colored(paper: tuple[int, int, int], ink: tuple[int, int, int]) -> Callable[[_Pen, Random], bytes]:
    def draw(pen: _Pen, random: Random) -> bytes:
        mask = pen.draw(_SQUARE)[..., np.newaxis]
        return encode(Image.fromarray(_bytes(np.array(paper) * (1 - mask) + np.array(ink) * mask)))

    return draw


def _transparent(color: float) -> Callable[[_Pen, Random], bytes]:
    def draw(pen: _Pen, random: Random) -> bytes:
        alpha = _bytes(pen.draw(_SQUARE) * 255)
        return encode(Image.fromarray(np.stack([np.full_like(alpha, color)] * 3 + [alpha], axis=-1)))

    return draw


def _sixteen_bits(bits: int) -> Callable[[_Pen, Random], bytes]:
    def draw(pen: _Pen, random: Random) -> bytes:
        values = np.round((1 - pen.draw(_SQUARE)) * (2**bits - 1)).astype(np.uint16)
        return encode(Image.fromarray(values))

    return draw


def _gif(pen: _Pen, random: Random) -> bytes:
    file = io.BytesIO()
    Image.fromarray(_bytes(_page(pen.draw(_SQUARE)))).save(file, "GIF")
    return file.getvalue()


KINDS: Mapping[str, Callable[[_Pen, Random], bytes]] = {
    "black on white": lambda pen, random: _gray(_page(pen.draw(_SQUARE))),
    "white on black": lambda pen, random: _gray(_page(pen.draw(_SQUARE), 0, 255)),
    "small on a page": lambda pen, random: _gray(_page(pen.draw(_SQUARE, 0.2, 0.3))),
    "fills the page": lambda pen, random: _gray(_page(pen.draw(_SQUARE, 0.95, 1.0))),
    "off center": lambda pen, random: _gray(_page(pen.draw((200, 400), middle=random.uniform(0.1, 0.9)))),
    "low contrast": lambda pen, random: _gray(_page(pen.draw(_SQUARE), 200, 150)),
    "noise": lambda pen, random: _gray(_page(pen.draw(_SQUARE), 200, 60) + random.normal(0, 15, _SQUARE)),
    "GIF": _gif,
    "broken stroke": _broken,
    "specks": _specks,
    "underlined": _underlined,
    "frame at the edge": lambda pen, random: _gray(_framed(_page(pen.draw(_SQUARE)), 0, int(random.integers(1, 8)))),
    "frame inside": lambda pen, random: _gray(
        _framed(_page(pen.draw(_SQUARE, 0.4, 0.6)), 0, int(random.integers(2, 6)), int(random.integers(5, 20)))
    ),
    "white frame on black": lambda pen, random: _gray(
        _framed(_page(pen.draw(_SQUARE), 0, 255), 255, int(random.integers(1, 8)))
    ),
    "black scan edges": lambda pen, random: _gray(_framed(_page(pen.draw(_SQUARE)), 0, int(random.integers(10, 30)))),
    "black scan edge, two sides": lambda pen, random: _gray(
        np.minimum(_page(pen.draw(_SQUARE)), np.pad(np.full((265, 268), 255.0), ((15, 0), (0, 12))))
    ),
    "title bar": _bar,
    "white on transparency": _transparent(255),
    "black on transparency": _transparent(0),
    "gray on transparency": _transparent(128),
    "red on green": _colored((0, 144, 0), (255, 0, 0)),
    "blue on gray": _colored((60, 60, 60), (30, 30, 255)),
    "yellow on white": _colored((255, 255, 255), (230, 210, 0)),
    "10 bits of 16": _sixteen_bits(10),
    "12 bits of 16": _sixteen_bits(12),
    "14 bits of 16": _sixteen_bits(14),
    "photo": lambda pen, random: _photo(_paper(pen, random), random),
    "photo, small": lambda pen, random: _photo(_page(pen.draw(_PHOTO, 0.2, 0.3), 210, 60), random),
    "photo, noisy": lambda pen, random: _photo(_paper(pen, random), random, 12),
    "photo, hard shadow": lambda pen, random: _photo(_shadowed(_paper(pen, random), random, 0.005, 0.5), random),
    "photo, soft shadow": lambda pen, random: _photo(_shadowed(_paper(pen, random), random, 0.04, 0.6), random),
    "photo, weak shadow": lambda pen, random: _photo(_shadowed(_paper(pen, random), random, 0.01, 0.25), random),
    "photo, strip of desk": lambda pen, random: _photo(_desk(_paper(pen, random), random, 0.04, 1), random),
    "photo, desk on two sides": lambda pen, random: _photo(_desk(_paper(pen, random), random, 0.12, 2), random),
    "photo, sheet on a desk": lambda pen, random: _photo(_sheet(pen, random), random),
    "photo, below text": lambda pen, random: _photo(_below_text(pen, random), random),
    "photo, yellow pen": lambda pen, random: _photo(_yellow(pen), random),
    "photo, light rules": lambda pen, random: _photo(_ruled(_paper(pen, random), random, 165), random),
    "photo, dark rules": lambda pen, random: _photo(_ruled(_paper(pen, random), random, 110), random),
    "photo, squared paper": lambda pen, random: _photo(_ruled(_paper(pen, random), random, 150, True), random),
    "photo, whiteboard edge": lambda pen, random: _photo(_framed(_paper(pen, random), 120, 14), random),
}


if __name__ == "__main__":
    main()
