"""Measures how often a pushed model of digits is `unsure`: of digits, and of images that show no digit, by kind."""

import string
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from benchmarks.mnist import encode, load_mnist
from benchmarks.processes import exit_with, measure_model, model_option
from components.verdict import render_table

DIGITS = "MNIST's test digits"
MAX_SHARE_OF_DIGITS = 0.015

_SEED = 31
# The italic and bold fonts of the families are left out, as are those of symbols.
_FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "cmr10", "cmss10", "cmtt10")
_FONT_SIZE = 96
_MARGIN = 30
_WHITE = 255
# Letters that people may read as a digit, too.
_LIKE_DIGITS = "BDGIJOQSTZbgijloqsz"
_LETTERS = "".join(letter for letter in string.ascii_letters if letter not in _LIKE_DIGITS)

Random = np.random.Generator


@click.command()
@model_option
@click.option("--images", default=500, show_default=True, help="Images per kind.")
def main(model: Path, images: int) -> None:
    """Measure the share that is unsure or blank per kind; exit with 1 if a target is missed."""
    shares = measure_model("outliers", str(model), str(images))
    click.echo(render_table(("kind", "unsure or blank"), [(kind, f"{share:.1%}") for kind, share in shares.items()]))
    exit_with(missed_targets(shares))


def missed_targets(shares: Mapping[str, float]) -> Iterator[str]:
    """Yields each missed target, as a sentence."""
    if shares[DIGITS] > MAX_SHARE_OF_DIGITS:
        yield f"{DIGITS}: {shares[DIGITS]:.1%}, expected at most {MAX_SHARE_OF_DIGITS:.1%}."
    for kind, (_, least) in KINDS.items():
        if shares[kind] < least:
            yield f"{kind}: {shares[kind]:.1%}, expected at least {least:.0%}."


def draw_outliers(kind: str, num_images: int) -> list[bytes]:
    """Draws images of a kind, a key of `KINDS`, the same ones each time."""
    random = np.random.default_rng(_SEED)
    return [encode(Image.fromarray(KINDS[kind][0](random))) for _ in range(num_images)]


def _two_digits(random: Random) -> NDArray[np.uint8]:
    """Puts two test digits next to each other, up to six pixels apart."""
    digits, _ = load_mnist("test")
    one, other = (digit[:, digit.any(axis=0)] for digit in digits[random.integers(len(digits), size=2)])
    gap = np.zeros((28, int(random.integers(7))), np.uint8)
    return np.pad(np.concatenate([one, gap, other], axis=1), 4)


def _printed(text: str, random: Random) -> NDArray[np.uint8]:
    font_file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{random.choice(_FONTS)}.ttf"
    font = ImageFont.truetype(str(font_file), _FONT_SIZE)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (int(right - left) + 2 * _MARGIN, int(bottom - top) + 2 * _MARGIN), _WHITE)
    ImageDraw.Draw(image).text((_MARGIN - left, _MARGIN - top), text, fill=0, font=font)
    return np.asarray(image)


def _noise(random: Random) -> NDArray[np.uint8]:
    size = random.integers(28, 120, size=2)
    if random.random() < 0.5:
        return random.integers(0, _WHITE + 1, size, dtype=np.uint8)
    return (_WHITE * (random.random(size) < random.uniform(0.05, 0.5))).astype(np.uint8)


def _stripes(random: Random) -> NDArray[np.uint8]:
    """Draws waves, checks or a grid in any direction."""
    side = int(random.integers(28, 120))
    y, x = np.mgrid[:side, :side] / side
    angle, frequency = random.uniform(0, np.pi), random.uniform(2, 9)
    along = np.sin(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)))
    across = np.sin(2 * np.pi * frequency * (y * np.cos(angle) - x * np.sin(angle)))
    values = (along, np.sign(along * across), np.maximum(np.abs(along), np.abs(across)) > 0.9)[random.integers(3)]
    return np.interp(values, (np.min(values), np.max(values)), (0, _WHITE)).astype(np.uint8)


def _clouds(random: Random) -> NDArray[np.uint8]:
    side = int(random.integers(28, 120))
    values = ndimage.gaussian_filter(random.normal(size=(side, side)), side / random.uniform(6, 25))
    if random.random() < 0.5:
        values = values > np.median(values)
    return np.interp(values, (np.min(values), np.max(values)), (0, _WHITE)).astype(np.uint8)


KINDS: Mapping[str, tuple[Callable[[Random], NDArray[Any]], float]] = {
    "two digits": (_two_digits, 0.9),
    "two printed digits": (lambda random: _printed(str(random.integers(10, 100)), random), 0.9),
    "printed letters": (lambda random: _printed(random.choice(list(_LETTERS)), random), 0.8),
    "noise": (_noise, 0.99),
    "stripes and checks": (_stripes, 0.99),
    "clouds": (_clouds, 0.99),
}
"""For each kind of outlier, what draws one, and the least share of them that should be `unsure` or `blank`."""


if __name__ == "__main__":
    main()
