from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components.example_counts import LostExamplesError, write_counts
from components.features import Contract
from components.trainer.datasets import (
    add_drawn_ones,
    evaluation_batches,
    read_examples,
    steps_per_epoch,
    training_batches,
)
from components.trainer.hyperparameters import NO_AUGMENTATION, Hyperparameters
from registry.errors import UsageError
from tests.support.examples import png, serialize, write_records

NUM_CLASSES = 10


@pytest.fixture
def file_pattern(tmp_path: Path) -> str:
    """Seven examples in two files; the pixels of each image equal its number."""
    for shard, numbers in enumerate((range(4), range(4, 7))):
        records = [
            serialize(image=png(np.full((28, 28), number, np.uint8)), label=str(number).encode(), note=b"not read")
            for number in numbers
        ]
        write_records(tmp_path / "Split-train" / f"examples-{shard}.gz", records)
    return str(tmp_path / "Split-train" / "*")


def numbers(batches: Iterable[tuple[tf.Tensor, tf.Tensor]]) -> list[int]:
    return [int(number) for _, labels in batches for number in np.argmax(labels, axis=-1)]


def test_examples_are_read_in_order(file_pattern: str, transform: tft.TFTransformOutput) -> None:
    dataset = read_examples([file_pattern], transform)
    examples = list(dataset.as_numpy_iterator())
    assert len(dataset) == 7
    assert [int(label) for _, label in examples] == list(range(7))
    assert examples[3][0].shape == (28, 28, 1)
    np.testing.assert_allclose(examples[3][0], (3 - 60) / 60, rtol=1e-5)


def test_labels_outside_the_schema_have_no_class(tmp_path: Path, transform: tft.TFTransformOutput) -> None:
    labels = (b"7", b"seven", b"")
    records = [serialize(image=png(np.zeros((28, 28), np.uint8)), label=label) for label in labels]
    write_records(tmp_path / "examples.gz", records)
    examples = read_examples([str(tmp_path / "examples.gz")], transform)
    assert [int(label) for _, label in examples] == [7, -1, -1]
    ((_, one_hot),) = evaluation_batches(examples, NUM_CLASSES)
    assert one_hot.numpy().sum(axis=1).tolist() == [1, 0, 0]


def test_images_of_any_size_fit(tmp_path: Path, transform: tft.TFTransformOutput) -> None:
    write_records(tmp_path / "examples.gz", [serialize(image=png(np.full((30, 20), 180, np.uint8)), label=b"1")])
    ((image, _),) = read_examples([str(tmp_path / "examples.gz")], transform)
    assert image.shape == (28, 28, 1)
    np.testing.assert_allclose(image[:, 4:23], (180 - 60) / 60, rtol=1e-5)
    np.testing.assert_allclose(image[:, 23:], -1, rtol=1e-5)


def test_drawn_ones_are_added(file_pattern: str, transform: tft.TFTransformOutput) -> None:
    contract = Contract(("3", "1", "7"), 28, 28, 1)
    train = add_drawn_ones(
        read_examples([file_pattern], transform), transform, contract, Hyperparameters(drawn_ones_share=0.4)
    )
    assert len(train) == 7 + 3
    *_, (image, label) = train.as_numpy_iterator()
    assert label == 1
    assert image.shape == (28, 28, 1)
    assert image.min() == pytest.approx((0 - 60) / 60)
    assert image.max() > (150 - 60) / 60


@pytest.mark.parametrize(
    ("classes", "hyperparameters"),
    [
        (("0", "2"), {}),
        (("0", "1"), {"preparation": "resize"}),
        (("0", "1"), {"drawn_ones_share": 0}),
    ],
)
def test_no_ones_are_added_to_other_data(
    classes: tuple[str, ...], hyperparameters: dict[str, Any], file_pattern: str, transform: tft.TFTransformOutput
) -> None:
    settings = Hyperparameters.model_validate({"drawn_ones_share": 0.4, **hyperparameters})
    examples = read_examples([file_pattern], transform)
    assert len(add_drawn_ones(examples, transform, Contract(classes, 28, 28, 1), settings)) == 7


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "changed"])
def test_an_example_that_is_missing_is_an_error(
    file_pattern: str, damage: str, tmp_path: Path, transform: tft.TFTransformOutput
) -> None:
    split = tmp_path / "Split-train"
    write_counts({"Split-train/examples-0.gz": 4, "Split-train/examples-1.gz": 3}, str(tmp_path))
    assert len(read_examples([file_pattern], transform)) == 7
    file = split / "examples-1.gz"
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        changed = content[:20] + b"damage" + content[26:]
        file.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "changed": changed}[damage])
    with pytest.raises(LostExamplesError, match=r"Split-train/examples-1\.gz: .*run again"):
        read_examples([file_pattern], transform)


def test_missing_files_are_an_error(tmp_path: Path, transform: tft.TFTransformOutput) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="No files matched pattern"):
        list(read_examples([str(tmp_path / "*.gz")], transform))


def test_evaluation_keeps_order_and_images(file_pattern: str, transform: tft.TFTransformOutput) -> None:
    (batch,) = evaluation_batches(read_examples([file_pattern], transform), NUM_CLASSES)
    assert numbers([batch]) == list(range(7))
    np.testing.assert_allclose(batch[0][:, 0, 0, 0] * 60 + 60, range(7), atol=1e-4)
    assert batch[1].shape == (7, NUM_CLASSES)


def test_training_sees_every_image_once_per_epoch_in_another_order(
    file_pattern: str, transform: tft.TFTransformOutput
) -> None:
    def epochs(seed: int) -> tuple[list[int], list[int]]:
        examples = read_examples([file_pattern], transform)
        found = numbers(training_batches(examples, NUM_CLASSES, Hyperparameters(seed=seed, batch_size=3, epochs=2)))
        return found[:7], found[7:]

    first, second = epochs(seed=1)
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second
    assert epochs(seed=1) == (first, second)
    assert epochs(seed=2) != (first, second)


def test_training_images_are_augmented_differently_in_each_epoch(
    make_standardized: Callable[[int, int], tf.data.Dataset],
) -> None:
    first, second = training_batches(make_standardized(10, 0), NUM_CLASSES, Hyperparameters(batch_size=10, epochs=2))
    by_label = [images.numpy()[np.argsort(np.argmax(labels, axis=-1))] for images, labels in (first, second)]
    assert not np.allclose(by_label[0], by_label[1])


@pytest.mark.parametrize("num_machines", [1, 2])
def test_several_devices_get_full_batches_only(
    file_pattern: str, num_machines: int, transform: tft.TFTransformOutput
) -> None:
    context = tf.distribute.InputContext(num_machines, num_replicas_in_sync=2)
    settings = Hyperparameters(batch_size=2, epochs=3)
    batches = training_batches(read_examples([file_pattern], transform), NUM_CLASSES, settings, context)
    assert steps_per_epoch(7, settings, 2) == 1
    # Two devices of one machine take turns.
    assert [images.shape[0] for images, _ in batches] == [2, 2, 2] * (2 // num_machines)


def test_machines_share_a_batch(file_pattern: str, transform: tft.TFTransformOutput) -> None:
    def labels(batch_size: int, context: tf.distribute.InputContext) -> np.ndarray:
        settings = Hyperparameters(batch_size=batch_size, epochs=2)
        batches = training_batches(read_examples([file_pattern], transform), NUM_CLASSES, settings, context)
        return np.array([batch.numpy().argmax(axis=-1) for _, batch in batches if len(batch) == batch_size])

    parts = [labels(3, tf.distribute.InputContext(2, machine, 2)) for machine in range(2)]
    together = labels(6, tf.distribute.InputContext())
    np.testing.assert_array_equal(np.stack(parts, axis=-1).reshape(2, 6), together)


def test_machines_augment_differently() -> None:
    examples = tf.data.Dataset.from_tensors((np.eye(28, dtype=np.float32)[..., np.newaxis], np.int64(0))).repeat(8)
    settings = Hyperparameters(batch_size=4, epochs=1)
    first, second = (
        next(iter(training_batches(examples, NUM_CLASSES, settings, tf.distribute.InputContext(2, machine, 2))))[0]
        for machine in range(2)
    )
    assert not np.allclose(first, second)


def test_too_few_images_for_all_devices_are_an_error() -> None:
    settings = Hyperparameters(batch_size=20)
    assert steps_per_epoch(7, settings, 1) == 1
    with pytest.raises(UsageError, match=r"^39 training images for 2 devices with trainer.batch_size=20: .* least 40"):
        steps_per_epoch(39, settings, 2)


@pytest.mark.parametrize(
    ("num_examples", "num_machines", "num_devices", "sizes"),
    [(81, 1, 2, [40, 40]), (81, 2, 2, [40]), (2049, 2, 4, [512, 512]), (2048, 2, 2, [1024]), (2051, 2, 2, [512, 512])],
)
def test_several_devices_evaluate_batches_of_one_size(
    num_examples: int, num_machines: int, num_devices: int, sizes: list[int]
) -> None:
    examples = tf.data.Dataset.from_tensor_slices((np.arange(num_examples), np.zeros(num_examples, np.int64)))
    seen: list[int] = []
    for machine in range(num_machines):
        context = tf.distribute.InputContext(num_machines, machine, num_devices)
        batches = [images.numpy() for images, _ in evaluation_batches(examples, NUM_CLASSES, context)]
        assert [len(batch) for batch in batches] == sizes
        seen.extend(np.concatenate(batches))
    assert sorted(seen) == list(range(len(seen)))


def test_fewer_and_fewer_images_are_disturbed(make_standardized: Callable[[int, int], tf.data.Dataset]) -> None:
    examples = make_standardized(10, 0)
    settings = Hyperparameters(**{**NO_AUGMENTATION, "disturbed_share": 1.0}, batch_size=10, epochs=60)
    originals = np.stack([image for image, _ in examples.as_numpy_iterator()])
    shares = [
        np.mean(np.abs(images - originals[labels.argmax(axis=-1)]).max(axis=(1, 2, 3)) > 1e-5)
        for images, labels in training_batches(examples, NUM_CLASSES, settings).as_numpy_iterator()
    ]
    by_third = np.reshape(shares, (3, 20)).mean(axis=1)
    # Each of the three stages leaves half of the images unchanged.
    np.testing.assert_allclose(by_third, np.array([5, 3, 1]) / 6 * (1 - 0.5**3), atol=0.1)
