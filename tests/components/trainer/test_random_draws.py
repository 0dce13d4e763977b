import numpy as np
import pytest
import tensorflow as tf

from components.trainer.random_draws import per_image, split_seed

SEED = tf.constant([1, 2], tf.int64)


def test_seeds_differ_and_repeat() -> None:
    seeds = [tuple(seed.numpy()) for seed in split_seed(SEED, 4)]
    assert len(set(seeds)) == 4
    assert seeds == [tuple(seed.numpy()) for seed in split_seed(SEED, 4)]
    assert not set(seeds) & {tuple(seed.numpy()) for seed in split_seed(SEED + 1, 4)}


def test_every_image_gets_a_number_of_its_own_in_the_range() -> None:
    numbers = per_image(tf.zeros([200, 28, 28, 1]), SEED, 2.0, 3.0).numpy()
    assert numbers.shape == (200, 1, 1, 1)
    assert len(np.unique(numbers)) == 200
    assert [numbers.min(), numbers.max()] == pytest.approx([2, 3], abs=0.03)
