from dataclasses import replace

from benchmarks.normalization import PIXELS_ROW, RE_RENDERED_ROW, SERVING_ROW, Cost, missed_targets

ACCURACIES = {PIXELS_ROW: 0.995, SERVING_ROW: 0.994, RE_RENDERED_ROW: 0.99}
COST = Cost(pixels=0.2, added=0.9, decoding=0.6)


def test_targets_that_are_met() -> None:
    assert list(missed_targets(ACCURACIES, {"28x28": COST})) == []


def test_each_target_is_missed_for_itself() -> None:
    (failure,) = missed_targets({**ACCURACIES, RE_RENDERED_ROW: 0.984}, {"28x28": COST})
    assert failure == "accuracy on re-rendered images is 98.40%, at least 98.5% is wanted."
    (failure,) = missed_targets(ACCURACIES, {"28x28": COST, "JPEG": replace(COST, added=1.64)})
    assert failure == "JPEG: 1.04 ms per image, at most 1.0 is wanted."
