from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.example_counts import LostExamplesError, write_counts
from components.trainer.datasets import evaluation_batches, read_examples, training_batches
from components.trainer.hyperparameters import Hyperparameters

FEATURE_SPEC = {
    "image": tf.io.FixedLenFeature([28, 28, 1], tf.float32),
    "label": tf.io.FixedLenFeature([], tf.int64),
}


@pytest.fixture
def file_pattern(tmp_path: Path) -> str:
    """Seven examples in two files; the pixels of each image equal its number."""
    for shard, numbers in enumerate((range(4), range(4, 7))):
        with tf.io.TFRecordWriter(str(tmp_path / f"examples-{shard}.gz"), options="GZIP") as writer:
            for number in numbers:
                image = tf.train.Feature(float_list=tf.train.FloatList(value=[number] * 784))
                label = tf.train.Feature(int64_list=tf.train.Int64List(value=[number]))
                features = tf.train.Features(feature={"image": image, "label": label})
                writer.write(tf.train.Example(features=features).SerializeToString())
    return str(tmp_path / "*.gz")


def numbers(batches: Iterable[tuple[tf.Tensor, tf.Tensor]]) -> list[int]:
    return [int(number) for _, labels in batches for number in np.argmax(labels, axis=-1)]


def test_examples_are_read_in_order(file_pattern: str) -> None:
    dataset = read_examples([file_pattern], FEATURE_SPEC)
    examples = list(dataset.as_numpy_iterator())
    assert len(dataset) == 7
    assert [int(label) for _, label in examples] == list(range(7))
    assert examples[3][0].shape == (28, 28, 1)
    assert (examples[3][0] == 3).all()


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "changed"])
def test_an_example_that_is_missing_is_an_error(file_pattern: str, damage: str, tmp_path: Path) -> None:
    split = tmp_path / "Split-train"
    split.mkdir()
    for file in tmp_path.glob("*.gz"):
        file.rename(split / file.name)
    write_counts({"Split-train/examples-0.gz": 4, "Split-train/examples-1.gz": 3}, str(tmp_path))
    assert len(read_examples([f"{split}/*"], FEATURE_SPEC)) == 7
    file = split / "examples-1.gz"
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        changed = content[:20] + b"damage" + content[26:]
        file.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "changed": changed}[damage])
    with pytest.raises(LostExamplesError, match=r"Split-train/examples-1\.gz: .*run again"):
        read_examples([f"{split}/*"], FEATURE_SPEC)


def test_missing_files_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="No files matched pattern"):
        list(read_examples([str(tmp_path / "*.gz")], FEATURE_SPEC))


def test_evaluation_keeps_order_and_images(file_pattern: str) -> None:
    (batch,) = evaluation_batches(read_examples([file_pattern], FEATURE_SPEC))
    assert batch[0][:, 0, 0, 0].numpy().tolist() == numbers([batch]) == list(range(7))


def test_training_sees_every_image_once_per_epoch_in_another_order(file_pattern: str) -> None:
    def epochs(seed: int) -> tuple[list[int], list[int]]:
        examples = read_examples([file_pattern], FEATURE_SPEC)
        batches = training_batches(examples, Hyperparameters(seed=seed, batch_size=3))
        return numbers(batches), numbers(batches)

    first, second = epochs(seed=1)
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second
    assert epochs(seed=1) == (first, second)
    assert epochs(seed=2) != (first, second)


def test_training_images_are_augmented_differently_in_each_epoch(
    make_examples: Callable[[int, int], tf.data.Dataset],
) -> None:
    batches = training_batches(make_examples(10, 0), Hyperparameters(batch_size=10))
    first, second = (next(iter(batches)) for _ in range(2))
    by_label = [images.numpy()[np.argsort(np.argmax(labels, axis=-1))] for images, labels in (first, second)]
    assert not np.allclose(by_label[0], by_label[1])


def test_several_devices_get_full_batches_only(file_pattern: str) -> None:
    examples = read_examples([file_pattern], FEATURE_SPEC)
    batches = training_batches(examples, Hyperparameters(batch_size=2), num_devices=2)
    assert [images.shape[0] for images, _ in batches] == [4]
