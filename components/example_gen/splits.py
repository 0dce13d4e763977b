"""Which record goes into which split: stratified, and a function of nothing but the data and the seed.

Every record gets a pseudo-random 64-bit order from the seed and its key. Within a stratum (records of one origin and
label) the first in that order become test, the next eval, the next train. Workers need to agree on the bounds between
those only, so that assigning a record takes no knowledge of the others.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from components.example_gen.sources.errors import DataError
from components.example_gen.sources.source import ALL, TEST
from components.features import EVAL_SPLIT, SPLITS, TEST_SPLIT, TRAIN_SPLIT

Stratum = tuple[str, int]
"""Origin and label of a record."""

Bounds = Sequence[tuple[str, int]]
"""For one stratum: splits, each with the highest order that still belongs to it, ascending."""


@dataclass(frozen=True)
class SplitFractions:
    """How data is shared out.

    Attributes:
        eval: Share of the training images that becomes eval.
        test: Share of all images that becomes test, where the data has no test set of its own.
        sample: Share of all images that is used at all.
    """

    eval: float
    test: float
    sample: float


def record_order(seed: int, key: str) -> int:
    """Returns the place of a record in the pseudo-random order of `seed`, 0 to 2^63 - 1."""
    digest = hashlib.blake2b(key.encode(), digest_size=8, key=seed.to_bytes(8, "big")).digest()
    return int.from_bytes(digest, "big") >> 1


def split_sizes(counts: Mapping[Stratum, int], fractions: SplitFractions) -> dict[Stratum, dict[str, int]]:
    """Decides how many records of each stratum go into each split.

    The totals are exact: of 60,000 images and an eval fraction of 1/12, exactly 5,000 become eval, and each label has
    its share of them to within one image.

    Args:
        counts: Number of records per stratum.
        fractions: How data is shared out.

    Returns:
        For each stratum the size of each split, in the order in which the splits take their records.

    Raises:
        DataError: A split would get no record.
    """
    sizes: dict[Stratum, dict[str, int]] = {}
    for origin in sorted({origin for origin, _ in counts}):
        left = {label: count for (of, label), count in counts.items() if of == origin}
        left = _shares(left, fractions.sample)
        by_split: dict[str, dict[int, int]] = {}
        if origin == TEST:
            by_split[TEST_SPLIT] = left
        else:
            if origin == ALL:
                by_split[TEST_SPLIT] = _shares(left, fractions.test)
                left = {label: count - by_split[TEST_SPLIT][label] for label, count in left.items()}
            by_split[EVAL_SPLIT] = _shares(left, fractions.eval)
            by_split[TRAIN_SPLIT] = {label: count - by_split[EVAL_SPLIT][label] for label, count in left.items()}
        for label in left:
            sizes[origin, label] = {split: by_label[label] for split, by_label in by_split.items()}
    _refuse_empty_split(sizes, counts)
    return sizes


def split_bounds(orders: Iterable[int], sizes: Mapping[str, int]) -> Bounds:
    """Finds the bounds of the splits of one stratum.

    Args:
        orders: The orders of all its records.
        sizes: Size of each split, in the order in which the splits take their records.

    Returns:
        The splits that get records, each with its highest order.
    """
    ascending = sorted(orders)
    bounds, taken = [], 0
    for split, size in sizes.items():
        taken += size
        if size:
            bounds.append((split, ascending[taken - 1]))
    return bounds


def assign_split(order: int, bounds: Bounds) -> str | None:
    """Returns the split of the record with this order, or None where sampling leaves it out."""
    return next((split for split, highest in bounds if order <= highest), None)


def _shares(counts: Mapping[int, int], fraction: float) -> dict[int, int]:
    """Takes `fraction` of the sum of `counts`, from each label in proportion (method of largest remainders)."""
    exact = {label: count * fraction for label, count in counts.items()}
    shares = {label: int(share) for label, share in exact.items()}
    missing = round(sum(counts.values()) * fraction) - sum(shares.values())
    for label in sorted(exact, key=lambda label: (shares[label] - exact[label], label))[:missing]:
        shares[label] += 1
    return shares


def _refuse_empty_split(sizes: Mapping[Stratum, Mapping[str, int]], counts: Mapping[Stratum, int]) -> None:
    totals = {split: sum(by_split.get(split, 0) for by_split in sizes.values()) for split in SPLITS}
    for split, total in totals.items():
        if not total:
            found = {origin: sum(n for (of, _), n in counts.items() if of == origin) for origin, _ in counts}
            raise DataError(
                f"split {split!r}",
                f"no image left for it (of {found or 'none'})",
                "at least one; give more data, or raise data.sample_fraction, data.eval_fraction or data.test_fraction",
            )
