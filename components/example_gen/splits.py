"""Assigns records to splits: stratified, and as a function of only the data and the seed.

Every record has a pseudo-random 64-bit order from the seed and its key. Within a stratum (the records of one origin and
label), the first in that order become test, the next eval, the next train. Workers only have to agree on the bounds
between these to assign a record without knowing the others.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from components.example_gen.sources.errors import DataError
from components.example_gen.sources.source import EVAL, TEST
from components.features import EVAL_SPLIT, SPLITS, TEST_SPLIT, TRAIN_SPLIT

Stratum = tuple[str, str]
"""Origin and label of a record."""

Bounds = Sequence[tuple[str, int]]
"""The splits of a stratum, each with its highest order, ascending."""


@dataclass(frozen=True)
class SplitFractions:
    """How much of the data each split takes.

    Attributes:
        eval: Fraction of the training images that become eval, if the data has no validation set of its own.
        test: Fraction of all images that become test, if the data has no test set of its own.
    """

    eval: float
    test: float


def record_order(seed: int, key: str) -> int:
    """Returns the place of a record in the pseudo-random order of `seed`, 0 to 2^63 - 1."""
    digest = hashlib.blake2b(key.encode(), digest_size=8, key=seed.to_bytes(8, "big")).digest()
    return int.from_bytes(digest, "big") >> 1


def split_sizes(
    counts: Mapping[Stratum, int], fractions: SplitFractions, max_images: int
) -> dict[Stratum, dict[str, int]]:
    """Divides the number of records of each stratum among the splits.

    The totals are exact: with an eval fraction of 1/12, exactly 5,000 of 60,000 images become eval, and each label has
    its share of them to within one image.

    Args:
        counts: Number of records of each stratum.
        fractions: Fractions of eval and test.
        max_images: Number of records to use, the same fraction of each stratum; 0 uses all.

    Returns:
        For each stratum the size of each split, in the order in which the splits take their records.

    Raises:
        DataError: A split would be empty.
    """
    by_origin: dict[str, dict[str, int]] = {}
    for (origin, label), count in counts.items():
        by_origin.setdefault(origin, {})[label] = count
    totals = {origin: sum(labels.values()) for origin, labels in by_origin.items()}
    sample = _portion(totals, min(1, max_images / sum(totals.values()))) if max_images else totals
    held_out = {TEST: (TEST_SPLIT, fractions.test), EVAL: (EVAL_SPLIT, fractions.eval)}
    rest = 1.0
    of_training = {split: fraction for origin, (split, fraction) in held_out.items() if origin not in totals}
    sizes: dict[Stratum, dict[str, int]] = {stratum: {} for stratum in counts}
    for origin, labels in by_origin.items():
        left = _portion(labels, sample[origin] / totals[origin])
        plan = {held_out[origin][0]: rest} if origin in held_out else {**of_training, TRAIN_SPLIT: rest}
        for split, fraction in plan.items():
            for label, taken in _portion(left, fraction, keeps_last=True).items():
                sizes[origin, label][split] = taken
                left[label] -= taken
    for split in SPLITS:
        if not any(by_split.get(split) for by_split in sizes.values()):
            raise DataError(
                f"split {split!r}",
                f"no image left for it (of {totals})",
                "at least one",
                "provide more data, or raise data.max_images, data.eval_fraction or data.test_fraction",
            )
    return sizes


def split_bounds(orders: Iterable[int], sizes: Mapping[str, int]) -> Bounds:
    """Finds the bounds of the splits that are not empty from the orders of all records of a stratum."""
    ascending = sorted(orders)
    bounds, taken = [], 0
    for split, size in sizes.items():
        taken += size
        if size:
            bounds.append((split, ascending[taken - 1]))
    return bounds


def assign_split(order: int, bounds: Bounds) -> str | None:
    """Returns the split of the record with this order, or None if it is not in the sample."""
    return next((split for split, highest in bounds if order <= highest), None)


def _portion(counts: Mapping[str, int], fraction: float, *, keeps_last: bool = False) -> dict[str, int]:
    """Takes `fraction` of the sum of `counts`, proportionally from each label (largest remainder method).

    With `keeps_last`, the last record of a label is only taken if there are too few others, so that train has it.
    """
    exact = {label: count * fraction for label, count in counts.items()}
    portion = {label: int(share) for label, share in exact.items()}
    missing = round(sum(counts.values()) * fraction) - sum(portion.values())

    def priority(label: str) -> tuple[bool, float, str]:
        return keeps_last and portion[label] + 1 >= counts[label], portion[label] - exact[label], label

    for label in sorted(exact, key=priority)[:missing]:
        portion[label] += 1
    return portion
