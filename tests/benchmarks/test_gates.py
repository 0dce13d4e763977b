from dataclasses import replace

import pytest

from benchmarks.deformations import DEFORMATIONS
from benchmarks.gates import GATE_STEPS, Measured, missed_targets
from components.robustness.corruptions import CORRUPTIONS

GOOD = Measured(
    accuracies={"clean": 0.996, **dict.fromkeys(CORRUPTIONS, 0.985), **dict.fromkeys(DEFORMATIONS, 0.96)},
    calibration_error=0.002,
    seconds=dict.fromkeys(GATE_STEPS, 5.0),
)


def test_targets_that_are_met() -> None:
    assert list(missed_targets(GOOD, [GOOD.seconds])) == []


@pytest.mark.parametrize(
    ("measured", "missed"),
    [
        (replace(GOOD, accuracies={**GOOD.accuracies, "clean": 0.9949}), "clean accuracy is 99.49%"),
        (replace(GOOD, accuracies={**GOOD.accuracies, "fog": 0.929}), "accuracy under fog is 92.90%"),
        (
            replace(GOOD, accuracies={**GOOD.accuracies, **dict.fromkeys(CORRUPTIONS, 0.94)}),
            "mean accuracy over the corruptions is 94.00%",
        ),
        (
            replace(GOOD, accuracies={**GOOD.accuracies, "smooth deformation, strength 60": 0.949}),
            "accuracy under smooth deformation, strength 60 is 94.90%",
        ),
        (replace(GOOD, calibration_error=0.004), "the calibration error is 0.40%"),
        (replace(GOOD, seconds=dict.fromkeys(GATE_STEPS, 6.1)), "the gates took 30.5 s"),
    ],
)
def test_each_target_is_missed_for_itself(measured: Measured, missed: str) -> None:
    [failure] = missed_targets(measured, [measured.seconds])
    assert failure.startswith(missed)
