"""Asks a pushed model for the digits of corrupted copies of all test images, in a process that only knows the model."""

import json
from collections.abc import Iterator

import click
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchmarks.mnist_examples import load_mnist
from components.robustness.corruptions import CORRUPTIONS, corrupt
from registry.signatures import PIXELS, PROBABILITIES_OUTPUT

CLEAN = "clean"
CALIBRATION_ERROR = "calibration_error"

_BATCH_SIZE = 1000
_NUM_BINS = 15


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@click.option("--seed", default=1, help="Seed of the corruptions.")
def main(directory: str, seed: int) -> None:
    """Print accuracies, 0 to 1, of the model in DIRECTORY as JSON: clean, under each corruption; calibration error."""
    images, labels = load_mnist("test")
    model = tf.saved_model.load(directory)

    def probabilities(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches = np.array_split(pixels, len(pixels) // _BATCH_SIZE)
        signature = model.signatures[PIXELS]
        answers = [signature(image=tf.constant(batch, tf.float32))[PROBABILITIES_OUTPUT].numpy() for batch in batches]
        return np.concatenate(answers)

    clean = probabilities(images)
    accuracies = {CLEAN: _accuracy(clean, labels)}
    for name, corrupted in corrupted_copies(images, seed):
        accuracies[name] = _accuracy(probabilities(corrupted), labels)
    click.echo(json.dumps({**accuracies, CALIBRATION_ERROR: calibration_error(clean, labels)}))


def corrupted_copies(images: NDArray[np.uint8], seed: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yields each corruption with all images under it, uint8[n,28,28]."""
    for number, name in enumerate(CORRUPTIONS):
        generator = np.random.default_rng([seed, number])
        parts = np.array_split(images, max(1, len(images) // _BATCH_SIZE))
        yield name, np.concatenate([corrupt(name, part, generator) for part in parts])


def calibration_error(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Returns the expected calibration error, 0 to 1, over 15 bins of confidence (Guo et al. 2017, arXiv:1706.04599).

    Computed apart from the gate's own metric, so that the two confirm each other.
    """
    confidence = probabilities.max(axis=-1).astype(np.float64)
    right = probabilities.argmax(axis=-1) == labels
    bins = np.minimum((confidence * _NUM_BINS).astype(int), _NUM_BINS - 1)
    distances = [abs(np.sum(confidence[bins == number] - right[bins == number])) for number in range(_NUM_BINS)]
    return float(np.sum(distances) / len(labels))


def _accuracy(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    return float(np.mean(probabilities.argmax(axis=-1) == labels))


if __name__ == "__main__":
    main()
