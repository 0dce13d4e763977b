"""What the model saw, in characters."""

import numpy as np

from serving.client.rendering import render


def test_ink_is_drawn_in_five_shades() -> None:
    image = np.array([[0, 64, 128], [191, 255, 31]], dtype=np.float32)
    assert render(image) == "┌──────┐\n│  ░░▒▒│\n│▓▓██  │\n└──────┘"


def test_numbers_beyond_the_range_are_those_at_its_ends() -> None:
    assert render(np.array([[-3.0, 300.0]])) == "┌────┐\n│  ██│\n└────┘"


def test_a_picture_of_the_model_keeps_its_size() -> None:
    lines = render(np.zeros((28, 28))).splitlines()
    assert (len(lines), {len(line) for line in lines}) == (30, {58})
