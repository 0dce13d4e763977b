"""Two models whose answers tell them apart, pushed in turn as the Pusher does."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.features import NUM_CLASSES
from registry.publishing import new_folder, sole_writer, write_files

_VARIABLES = Path("variables") / "variables"


@dataclass(frozen=True)
class TwoModels:
    """A model, and one that answers the next digit: seven where the first answers six, zero after nine.

    Attributes:
        original: Folder of the SavedModel; pushed under odd numbers.
        shifted: Folder of the other; pushed under even numbers.
    """

    original: Path
    shifted: Path

    def push(self, number: int, serving_directory: Path) -> float:
        """Publishes a version.

        Args:
            number: Of the version; says which of the models it holds.
            serving_directory: Folder of the version folders.

        Returns:
            When no server could have seen it yet, in seconds of `time.perf_counter`.
        """
        model = self.shifted if digit_shift(number) else self.original
        files = {str(file.relative_to(model)): file for file in model.rglob("*") if file.is_file()}
        with sole_writer(serving_directory):
            started = time.perf_counter()
            with new_folder(serving_directory / str(number)) as folder:
                write_files(folder, files)
        return started


def digit_shift(number: int) -> int:
    """Says by how much the digits of a version differ from those of the original model: by 1 or 0."""
    return 0 if number % 2 else 1


def make_two_models(model: Path, directory: Path) -> TwoModels:
    """Copies a model, and makes the other from it.

    Args:
        model: Folder of a SavedModel whose last layer alone has ten outputs.
        directory: Where the two are written.
    """
    original = Path(shutil.copytree(model, directory / "original"))
    shifted = Path(shutil.copytree(model, directory / "shifted"))
    shift_digits(shifted)
    return TwoModels(original, shifted)


def shift_digits(model: Path) -> None:
    """Makes a model answer the next digit, by moving the weights of its last layer on by one class.

    Its graph stays as it is, so both models cost the same.

    Args:
        model: Folder of the SavedModel; its checkpoint is written anew.
    """
    import tensorflow as tf

    checkpoint = str(model / _VARIABLES)
    reader = tf.train.load_checkpoint(checkpoint)
    names = sorted(reader.get_variable_to_shape_map())
    tensors = [_shifted(reader.get_tensor(name)) for name in names]
    del reader
    tf.raw_ops.SaveV2(prefix=checkpoint, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)


def _shifted(tensor: np.ndarray | bytes) -> np.ndarray | bytes:
    is_last_layer = isinstance(tensor, np.ndarray) and tensor.ndim and tensor.shape[-1] == NUM_CLASSES
    return np.roll(tensor, 1, axis=-1) if is_last_layer else tensor
