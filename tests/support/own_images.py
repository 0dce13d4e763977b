"""Draws data sets like those that users bring: gray letters and color shapes, in one folder per class.

`python -m tests.support.own_images FOLDER` draws both for the examples of docs/own-images.md.
"""

import math
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont

LETTERS = tuple(string.ascii_uppercase)
SHAPES = ("circle", "square", "triangle")

_NUM_CORNERS = {"square": 4, "triangle": 3}
_MIN_CONTRAST = 80


def draw_letter(letter: str, random: np.random.Generator) -> Image.Image:
    """Draws a white letter of a random size, weight and slant, at a random place on black, 28 x 28 pixels."""
    image = Image.new("L", (28, 28))
    center = tuple(random.uniform(11.5, 16.5, 2))
    ImageDraw.Draw(image).text(
        center,
        letter,
        fill=255,
        font=ImageFont.load_default(random.uniform(14, 22)),
        anchor="mm",
        stroke_width=random.uniform(0, 0.8),
    )
    return image.rotate(random.uniform(-12, 12), Image.Resampling.BICUBIC, center=center)


def draw_shape(shape: str, random: np.random.Generator) -> Image.Image:
    """Draws a shape of a random color, size and rotation at a random place on another color, 64 x 64 pixels."""
    background = color = random.integers(0, 256, 3)
    while np.abs(background - color).max() < _MIN_CONTRAST:
        color = random.integers(0, 256, 3)
    image = Image.new("RGB", (64, 64), tuple(background.tolist()))
    radius = random.uniform(14, 28)
    x, y = random.uniform(radius, 64 - radius, 2)
    if shape == "circle":
        draw = ImageDraw.Draw(image)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(color.tolist()))
    else:
        start = random.uniform(0, 2 * math.pi)
        angles = np.linspace(start, start + 2 * math.pi, _NUM_CORNERS[shape], endpoint=False)
        corners = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)
        ImageDraw.Draw(image).polygon(corners.ravel().tolist(), fill=tuple(color.tolist()))
    return image


def write_letters(folder: Path, per_class: int = 150) -> Path:
    """Writes letters to folders A to Z, as PNG files."""
    return _write(folder, LETTERS, per_class, draw_letter, ("png",))


def write_shapes(folder: Path, per_class: int = 300) -> Path:
    """Writes shapes to a folder per shape, as PNG files and every third as a JPEG file."""
    return _write(folder, SHAPES, per_class, draw_shape, ("jpg", "png", "png"))


def _write(
    folder: Path,
    classes: Sequence[str],
    per_class: int,
    draw: Callable[[str, np.random.Generator], Image.Image],
    suffixes: Sequence[str],
) -> Path:
    random = np.random.default_rng(0)
    for label in classes:
        (folder / label).mkdir(parents=True)
        for index in range(per_class):
            suffix = suffixes[index % len(suffixes)]
            # Only JPEG has a quality.
            draw(label, random).save(folder / label / f"{index:03d}.{suffix}", quality=90)
    return folder


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Draw the folders `letters` and `shapes` in FOLDER."""
    write_letters(folder / "letters")
    write_shapes(folder / "shapes")


if __name__ == "__main__":
    main()
