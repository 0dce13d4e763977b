import numpy as np
import pytest

from components.robustness.noise import impulse_noise, shot_noise
from components.robustness.pixels import Images


def test_shot_noise_counts_three_photons_on_full_ink(blank: Images, generator: np.random.Generator) -> None:
    noisy = shot_noise(blank + np.uint8(255), generator)
    assert np.unique(noisy).tolist() == [0, 85, 170, 255]
    # The Poisson distribution of mean 3: e^-3 (1, 3, 9/2).
    shares = [(noisy == value).mean() for value in (0, 85, 170)]
    assert shares == pytest.approx([0.0498, 0.1494, 0.2240], abs=0.005)


def test_shot_noise_leaves_the_ground_dark(blank: Images, generator: np.random.Generator) -> None:
    assert not shot_noise(blank, generator).any()


def test_impulse_noise_replaces_17_percent_by_as_much_black_as_white(
    blank: Images, generator: np.random.Generator
) -> None:
    noisy = impulse_noise(blank + np.uint8(100), generator)
    assert np.unique(noisy).tolist() == [0, 100, 255]
    assert [(noisy == value).mean() for value in (0, 255)] == pytest.approx([0.085, 0.085], abs=0.003)
