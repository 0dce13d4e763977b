import pytest
from click.testing import CliRunner

from benchmarks.accuracy import MAX_PEAK_BYTES, SeedResult, limit_failures, main


def result(seed: int = 0, accuracy: float = 0.996, peak_bytes: int = 2**30) -> SeedResult:
    return SeedResult(seed, accuracy, "9", 0.99, seconds=100.0, peak_bytes=peak_bytes)


@pytest.mark.parametrize(
    ("results", "failures"),
    [
        ([result(0, 0.9949), result(1, 0.9953, MAX_PEAK_BYTES)], []),
        ([result(0, 0.994), result(1, 0.9952)], ["the mean test accuracy is 99.460%, expected at least 99.500%."]),
        ([result(1, peak_bytes=5 * 2**30)], ["seed 1 took 5.00 GiB of memory, expected at most 4.00 GiB."]),
    ],
)
def test_limits_apply_to_the_mean_accuracy_and_to_each_peak(results: list[SeedResult], failures: list[str]) -> None:
    assert list(limit_failures(results)) == failures


def test_seeds_must_be_numbers() -> None:
    outcome = CliRunner().invoke(main, ["--seeds", "0;1"])
    assert outcome.exit_code == 2
    assert "'0;1': expected whole numbers separated by commas" in outcome.output
