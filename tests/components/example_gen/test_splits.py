import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from components.example_gen.sources.errors import DataError
from components.example_gen.sources.source import ALL, EVAL, TEST, TRAIN
from components.example_gen.splits import SplitFractions, assign_split, record_order, split_bounds, split_sizes

MNIST_TRAIN_COUNTS = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
MNIST_TEST_COUNTS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
MNIST_COUNTS = {
    **{(TRAIN, str(label)): count for label, count in enumerate(MNIST_TRAIN_COUNTS)},
    **{(TEST, str(label)): count for label, count in enumerate(MNIST_TEST_COUNTS)},
}
FRACTIONS = SplitFractions(eval=1 / 12, test=1 / 7)


def totals(sizes: dict[tuple[str, str], dict[str, int]]) -> Counter[str]:
    return sum((Counter(by_split) for by_split in sizes.values()), Counter())


def test_mnist_is_split_into_55000_5000_and_10000() -> None:
    sizes = split_sizes(MNIST_COUNTS, FRACTIONS, max_images=0)
    assert totals(sizes) == {"train": 55_000, "eval": 5_000, "test": 10_000}
    for label, count in enumerate(MNIST_TRAIN_COUNTS):
        assert abs(sizes[TRAIN, str(label)]["eval"] - count / 12) < 1
        assert sizes[TEST, str(label)] == {"test": MNIST_TEST_COUNTS[label]}


@pytest.mark.parametrize("max_images", [700, 4201, 69_999])
def test_a_sample_keeps_the_share_of_every_label_and_set(max_images: int) -> None:
    sizes = split_sizes(MNIST_COUNTS, FRACTIONS, max_images)
    assert totals(sizes).total() == max_images
    fraction = max_images / 70_000
    assert abs(totals(sizes)["test"] - 10_000 * fraction) < 1
    for label, count in enumerate(MNIST_TRAIN_COUNTS):
        assert abs(sum(sizes[TRAIN, str(label)].values()) - count * fraction) < 2


@pytest.mark.parametrize("max_images", [70_000, 70_001, 10**9])
def test_a_sample_of_more_than_all_is_all(max_images: int) -> None:
    assert split_sizes(MNIST_COUNTS, FRACTIONS, max_images) == split_sizes(MNIST_COUNTS, FRACTIONS, 0)


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        ({ALL: 70}, {"test": 100, "eval": 50, "train": 550}),
        ({TRAIN: 70}, {"test": 100, "eval": 50, "train": 550}),
        ({TRAIN: 60, TEST: 7}, {"test": 70, "eval": 50, "train": 550}),
        ({TRAIN: 70, EVAL: 3}, {"test": 100, "eval": 30, "train": 600}),
        ({TRAIN: 70, EVAL: 3, TEST: 4}, {"test": 40, "eval": 30, "train": 700}),
    ],
)
def test_training_images_fill_the_splits_that_the_data_lacks(origins: dict[str, int], expected: dict[str, int]) -> None:
    counts = {(origin, str(label)): count for origin, count in origins.items() for label in range(10)}
    assert totals(split_sizes(counts, FRACTIONS, max_images=0)) == expected


def test_data_without_a_test_set_is_split_in_a_fixed_order() -> None:
    assert list(split_sizes({(ALL, "a"): 70}, FRACTIONS, max_images=0)[ALL, "a"]) == ["test", "eval", "train"]


def test_a_class_with_one_image_is_learned() -> None:
    counts = {(ALL, f"rare {number}"): 1 for number in range(5)} | {(ALL, "other"): 30}
    sizes = split_sizes(counts, FRACTIONS, max_images=0)
    assert totals(sizes) == {"test": 5, "eval": 2, "train": 28}
    assert all(sizes[ALL, f"rare {number}"] == {"test": 0, "eval": 0, "train": 1} for number in range(5))


@pytest.mark.parametrize(
    ("counts", "max_images", "split"),
    [
        ({(TRAIN, "0"): 3, (TEST, "0"): 3}, 0, "eval"),
        ({(ALL, "0"): 2, (ALL, "1"): 1}, 0, "eval"),
        ({(TRAIN, "0"): 3000, (TEST, "0"): 3000}, 6, "eval"),
    ],
)
def test_refuses_an_empty_split(counts: dict[tuple[str, str], int], max_images: int, split: str) -> None:
    message = f"split '{split}': found no image left for it .*expected at least one; provide more data, or raise"
    with pytest.raises(DataError, match=message):
        split_sizes(counts, FRACTIONS, max_images)


def test_bounds_give_every_split_its_size() -> None:
    orders = [record_order(seed=7, key=f"train/{index}") for index in range(1000)]
    bounds = split_bounds(orders, {"test": 100, "eval": 0, "train": 850})
    assigned = Counter(assign_split(order, bounds) for order in orders)
    assert assigned == {"test": 100, "train": 850, None: 50}


@pytest.mark.parametrize(
    ("has_test_set", "fractions", "max_images", "seed", "expected"),
    [
        (True, FRACTIONS, 0, 0, "8044cad23b2442f5"),
        (True, SplitFractions(eval=0.1, test=0.2), 25_900, 11, "e3393a976ef88018"),
        (False, FRACTIONS, 0, 0, "4c464e02bd902fd8"),
        (False, SplitFractions(eval=0.1, test=0.2), 25_900, 11, "723eb790135ca624"),
    ],
)
def test_the_splits_of_mnist_never_change(
    has_test_set: bool, fractions: SplitFractions, max_images: int, seed: int, expected: str
) -> None:
    with np.load(Path(__file__).parents[3] / "data" / "mnist.npz") as arrays:
        labels = {TRAIN: arrays["y_train"].tolist(), TEST: arrays["y_test"].tolist()}
    if not has_test_set:
        labels = {ALL: labels[TRAIN] + labels[TEST]}
    records = [
        ((origin, str(label)), record_order(seed, f"{origin}/{index:06d}"))
        for origin in labels
        for index, label in enumerate(labels[origin])
    ]
    orders = defaultdict(list)
    for stratum, order in records:
        orders[stratum].append(order)
    sizes = split_sizes({stratum: len(found) for stratum, found in orders.items()}, fractions, max_images)
    bounds = {stratum: split_bounds(found, sizes[stratum]) for stratum, found in orders.items()}
    splits = ",".join(str(assign_split(order, bounds[stratum])) for stratum, order in records)
    assert hashlib.sha256(splits.encode()).hexdigest()[:16] == expected
