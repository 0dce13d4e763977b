"""Draws the sample images of this folder from strokes.json, in the styles of pens, screens and cameras.

It writes the same files to its own folder each time, from any working directory.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.Image import Resampling

FOLDER = Path(__file__).parent
_FINER = 4


def draw_ink(digit: int, variant: str, size: tuple[int, int], box: tuple[float, ...], pen: float) -> np.ndarray:
    """Draws strokes.

    Args:
        digit: Which digit, 0 to 9.
        variant: The writer, `a` or `b`.
        size: Height and width of the page in pixels.
        box: Upper edge, left edge and side, in pixels, of the square that the strokes are drawn in.
        pen: Width of the pen in pixels.

    Returns:
        float64[h,w], 0 for paper to 1 for ink.
    """
    drawings = json.loads((FOLDER / "strokes.json").read_text(encoding="utf-8"))
    (strokes,) = (one["strokes"] for one in drawings if (one["digit"], one["variant"]) == (digit, variant))
    height, width = size
    top, left, side = box
    page = Image.new("L", (width * _FINER, height * _FINER))
    for stroke in strokes:
        _draw_stroke(ImageDraw.Draw(page), [((left + side * x), (top + side * y)) for x, y in stroke], pen)
    return np.asarray(page.resize((width, height), Resampling.BOX)) / 255


def _draw_stroke(page: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], pen: float) -> None:
    finer = [(x * _FINER, y * _FINER) for x, y in points]
    radius = pen * _FINER / 2
    page.line(finer, fill=255, width=round(2 * radius), joint="curve")
    for x, y in (finer[0], finer[-1]):
        page.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def _gray(ink: np.ndarray, paper: float, pen: float) -> Image.Image:
    return Image.fromarray(np.round(paper + (pen - paper) * ink).astype(np.uint8))


def _photo(ink: np.ndarray, color: Sequence[float], squares: int) -> Image.Image:
    """Photographs ink on squared paper by the light of a lamp at the left, out of focus and with noise."""
    height, width = ink.shape
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    paper = np.full((height, width, 3), (228.0, 226.0, 218.0))
    if squares:
        paper[::squares] = paper[:, ::squares] = (196.0, 204.0, 214.0)
    page = paper * (1 - ink[..., np.newaxis]) + np.array(color) * ink[..., np.newaxis]
    light = 1.02 - 0.28 * x - 0.1 * y
    noise = np.random.default_rng(0).normal(0, 5, (height, width, 1))
    return Image.fromarray(np.clip(page * light[..., np.newaxis] + noise, 0, 255).astype(np.uint8))


def _transparent(ink: np.ndarray) -> Image.Image:
    pixels = np.zeros((*ink.shape, 4), np.uint8)
    pixels[..., 3] = np.round(255 * ink)
    return Image.fromarray(pixels)


def main() -> None:
    """Draws all samples."""
    canvas, sheet = (280, 280), (480, 640)
    _gray(draw_ink(0, "b", canvas, (20, 20, 240), 18), 255, 0).save(FOLDER / "0-marker.png")
    _photo(draw_ink(1, "b", sheet, (60, 150, 320), 7), (40, 50, 90), 40).save(
        FOLDER / "1-squared-paper.jpg", quality=85
    )
    _gray(draw_ink(2, "a", canvas, (20, 20, 240), 12), 0, 255).save(FOLDER / "2-light-on-dark.png")
    _transparent(draw_ink(3, "b", canvas, (20, 20, 240), 16)).save(FOLDER / "3-canvas.png")
    _gray(draw_ink(4, "a", (120, 90), (20, 5, 80), 3), 255, 20).convert("P").save(FOLDER / "4-old.gif")
    _gray(draw_ink(5, "b", (160, 120), (10, 0, 120), 6), 250, 30).save(FOLDER / "5-scan.bmp")
    _photo(draw_ink(6, "a", (640, 480), (220, 160, 260), 9), (150, 40, 60), 0).save(
        FOLDER / "6-red-pen.jpg", quality=85
    )
    _gray(draw_ink(7, "b", (200, 300), (90, 180, 100), 2), 235, 130).save(FOLDER / "7-pencil.png")
    _gray(draw_ink(8, "a", (400, 400), (40, 40, 320), 1), 255, 0).save(FOLDER / "8-thin.png")
    _photo(draw_ink(9, "b", sheet, (120, 260, 240), 22), (30, 110, 60), 32).save(FOLDER / "9-felt-pen.jpg", quality=85)
    _gray(draw_ink(7, "a", (28, 28), (1, 1, 26), 2.5), 0, 255).save(FOLDER / "7-tiny.png")
    _gray(draw_ink(3, "a", (60, 400), (5, 330, 50), 4), 90, 200).save(FOLDER / "3-chalk.png")


if __name__ == "__main__":
    main()
