import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from components.example_gen.sources.errors import DataError
from components.example_gen.sources.source import ALL, TEST, TRAIN
from components.example_gen.splits import SplitFractions, assign_split, record_order, split_bounds, split_sizes

MNIST_TRAIN_COUNTS = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
MNIST_TEST_COUNTS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
MNIST_COUNTS = {
    **{(TRAIN, label): count for label, count in enumerate(MNIST_TRAIN_COUNTS)},
    **{(TEST, label): count for label, count in enumerate(MNIST_TEST_COUNTS)},
}
FRACTIONS = SplitFractions(eval=1 / 12, test=1 / 7, sample=1.0)


def totals(sizes: dict[tuple[str, int], dict[str, int]]) -> Counter[str]:
    return sum((Counter(by_split) for by_split in sizes.values()), Counter())


def test_mnist_is_split_into_55000_5000_and_10000() -> None:
    sizes = split_sizes(MNIST_COUNTS, FRACTIONS)
    assert totals(sizes) == {"train": 55_000, "eval": 5_000, "test": 10_000}
    for label, count in enumerate(MNIST_TRAIN_COUNTS):
        assert abs(sizes[TRAIN, label]["eval"] - count / 12) < 1
        assert sizes[TEST, label] == {"test": MNIST_TEST_COUNTS[label]}


def test_sampling_keeps_the_share_of_every_label() -> None:
    sizes = split_sizes(MNIST_COUNTS, SplitFractions(eval=1 / 12, test=1 / 7, sample=0.01))
    total = totals(sizes)
    assert (total["train"] + total["eval"], total["test"]) == (600, 100)
    for label, count in enumerate(MNIST_TRAIN_COUNTS):
        assert abs(sum(sizes[TRAIN, label].values()) - count / 100) < 1


def test_data_without_a_test_set_is_split_in_three() -> None:
    sizes = split_sizes({(ALL, label): 70 for label in range(10)}, FRACTIONS)
    assert totals(sizes) == {"test": 100, "eval": 50, "train": 550}
    assert list(sizes[ALL, 0]) == ["test", "eval", "train"]


def test_refuses_an_empty_split() -> None:
    with pytest.raises(DataError, match="split 'eval': found no image left for it .*expected at least one; provide"):
        split_sizes({(TRAIN, 0): 3, (TEST, 0): 3}, FRACTIONS)


def test_bounds_give_every_split_its_size() -> None:
    orders = [record_order(seed=7, key=f"train/{index}") for index in range(1000)]
    bounds = split_bounds(orders, {"test": 100, "eval": 0, "train": 850})
    assigned = Counter(assign_split(order, bounds) for order in orders)
    assert assigned == {"test": 100, "train": 850, None: 50}


@pytest.mark.parametrize(
    ("has_test_set", "fractions", "seed", "expected"),
    [
        (True, FRACTIONS, 0, "8044cad23b2442f5"),
        (True, SplitFractions(eval=0.1, test=0.2, sample=0.37), 11, "e3393a976ef88018"),
        (False, FRACTIONS, 0, "4c464e02bd902fd8"),
        (False, SplitFractions(eval=0.1, test=0.2, sample=0.37), 11, "723eb790135ca624"),
    ],
)
def test_the_splits_of_mnist_never_change(
    has_test_set: bool, fractions: SplitFractions, seed: int, expected: str
) -> None:
    with np.load(Path(__file__).parents[3] / "data" / "mnist.npz") as arrays:
        labels = {TRAIN: arrays["y_train"].tolist(), TEST: arrays["y_test"].tolist()}
    if not has_test_set:
        labels = {ALL: labels[TRAIN] + labels[TEST]}
    records = [
        ((origin, label), record_order(seed, f"{origin}/{index:06d}"))
        for origin in labels
        for index, label in enumerate(labels[origin])
    ]
    orders = defaultdict(list)
    for stratum, order in records:
        orders[stratum].append(order)
    sizes = split_sizes({stratum: len(found) for stratum, found in orders.items()}, fractions)
    bounds = {stratum: split_bounds(found, sizes[stratum]) for stratum, found in orders.items()}
    splits = ",".join(str(assign_split(order, bounds[stratum])) for stratum, order in records)
    assert hashlib.sha256(splits.encode()).hexdigest()[:16] == expected
