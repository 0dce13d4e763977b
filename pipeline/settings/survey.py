"""Looks at all images of a data set, so that `digits new` can choose settings that fit them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.example_gen.sources.source import Source, batch_by_shape, check_classes
from components.example_gen.splits import Stratum
from components.example_gen.summaries import summarize, without_alpha
from components.features import MAX_PIXEL


@dataclass(frozen=True)
class Survey:
    """What a data set contains.

    Attributes:
        format: Human-readable name of its format.
        counts: Number of images by origin and class.
        summaries: The summary features by name, one value per image; NaN if an image does not have the feature.
        strata: Origin and class of each image, in the order of the summaries.
        brightest: The highest value of a pixel, 0 to 255.
        assumptions: What its files do not say, one line each.
    """

    format: str
    counts: Mapping[Stratum, int]
    summaries: Mapping[str, NDArray[np.float64]]
    strata: Sequence[Stratum] = ()
    brightest: int = MAX_PIXEL
    assumptions: tuple[str, ...] = ()

    @property
    def num_images(self) -> int:
        """Number of all images."""
        return sum(self.counts.values())

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes: numbers in the order of their values, other names in alphabetical order."""
        names = {label for _, label in self.counts}
        by_value = all(map(str.isdecimal, names))
        return tuple(sorted(names, key=lambda name: (int(name) if by_value else 0, name)))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Height and width of each image, int64[n,2]."""
        return np.stack([self.summaries["height"], self.summaries["width"]], axis=1).astype(np.int64)

    @property
    def has_color(self) -> bool:
        """Whether any image is in color."""
        return bool((self.summaries["channels"] > 1).any())


def survey_data(source: Source, where: str, *, with_ink_in_alpha: bool = False) -> Survey:
    """Reads all images.

    Args:
        source: The data.
        where: Its URI, for messages.
        with_ink_in_alpha: See `without_alpha`.

    Raises:
        DataError: The data is damaged, or has fewer than two classes.
    """
    counts: Counter[Stratum] = Counter()
    parts: list[Mapping[str, NDArray[np.float64]]] = []
    shares = source.shares()
    for share in shares:
        counts.update(record.stratum for record in share.records())
    check_classes(where, counts)
    strata: list[Stratum] = []
    brightest = 0
    for share in shares:
        records = share.records()
        for batch in batch_by_shape(enumerate(share.images(range(len(records))))):
            images = without_alpha(np.stack([image.pixels for _, image in batch]), with_ink_in_alpha=with_ink_in_alpha)
            columns = summarize(images, with_ink=True)
            parts.append({key: column.to_numpy(zero_copy_only=False) for key, column in columns.items()})
            strata += [records[number].stratum for number, _ in batch]
            brightest = max(brightest, int(images.max()))
    summaries = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return Survey(source.format, counts, summaries, strata, brightest, source.assumptions)
