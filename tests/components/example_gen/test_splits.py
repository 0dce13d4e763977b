import pytest

from components.example_gen.sources import DataError
from components.example_gen.sources.source import ALL, TEST, TRAIN
from components.example_gen.splits import SplitFractions, assign_split, record_order, split_bounds, split_sizes

MNIST_TRAIN_COUNTS = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
MNIST_TEST_COUNTS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
MNIST_COUNTS = {
    **{(TRAIN, label): count for label, count in enumerate(MNIST_TRAIN_COUNTS)},
    **{(TEST, label): count for label, count in enumerate(MNIST_TEST_COUNTS)},
}


def total(sizes: dict, split: str) -> int:
    return sum(by_split.get(split, 0) for by_split in sizes.values())


def test_mnist_is_split_into_55000_5000_and_10000() -> None:
    sizes = split_sizes(MNIST_COUNTS, SplitFractions(eval=1 / 12, test=1 / 7, sample=1.0))
    assert {split: total(sizes, split) for split in ("train", "eval", "test")} == {
        "train": 55_000,
        "eval": 5_000,
        "test": 10_000,
    }
    for label, count in enumerate(MNIST_TRAIN_COUNTS):
        assert abs(sizes[TRAIN, label]["eval"] - count / 12) < 1
        assert sizes[TEST, label] == {"test": MNIST_TEST_COUNTS[label]}


def test_sampling_keeps_the_share_of_every_label() -> None:
    sizes = split_sizes(MNIST_COUNTS, SplitFractions(eval=1 / 12, test=1 / 7, sample=0.01))
    assert total(sizes, "train") + total(sizes, "eval") == 600
    assert total(sizes, "test") == 100
    for label, count in enumerate(MNIST_TRAIN_COUNTS):
        assert abs(sum(sizes[TRAIN, label].values()) - count / 100) < 1


def test_data_without_a_test_set_gives_some_to_test() -> None:
    sizes = split_sizes({(ALL, label): 70 for label in range(10)}, SplitFractions(eval=1 / 12, test=1 / 7, sample=1.0))
    assert total(sizes, "test") == 100
    assert total(sizes, "eval") == 50
    assert total(sizes, "train") == 550


def test_a_split_without_images_is_refused() -> None:
    with pytest.raises(DataError, match="split 'eval': found no image left for it .*expected at least one"):
        split_sizes({(TRAIN, 0): 3, (TEST, 0): 3}, SplitFractions(eval=1 / 12, test=1 / 7, sample=1.0))


def test_bounds_give_every_split_its_size() -> None:
    orders = [record_order(seed=7, key=f"train/{index}") for index in range(1000)]
    bounds = split_bounds(orders, {"test": 100, "eval": 0, "train": 850})
    assigned = [assign_split(order, bounds) for order in orders]
    assert {split: assigned.count(split) for split in ("test", "eval", "train", None)} == {
        "test": 100,
        "eval": 0,
        "train": 850,
        None: 50,
    }


def test_the_order_depends_on_seed_and_key_only() -> None:
    assert record_order(1, "train/5") == record_order(1, "train/5")
    assert len({record_order(seed, key) for seed in (0, 1) for key in ("train/5", "train/6", "test/5")}) == 6
    assert all(0 <= record_order(0, str(index)) < 2**63 for index in range(100))
