from click.testing import CliRunner

from benchmarks.accuracy import MAX_PEAK_BYTES, SeedResult, limit_failures, main


def result(seed: int = 0, accuracy: float = 0.996, peak_bytes: int = 2**30) -> SeedResult:
    return SeedResult(seed, accuracy, "9", 0.99, seconds=100.0, peak_bytes=peak_bytes)


def test_good_results_break_no_limit() -> None:
    assert list(limit_failures([result(0), result(1, peak_bytes=MAX_PEAK_BYTES)])) == []


def test_the_mean_decides_not_the_lowest() -> None:
    assert list(limit_failures([result(0, 0.9949), result(1, 0.9953)])) == []


def test_low_mean_is_named() -> None:
    (failure,) = limit_failures([result(0, 0.994), result(1, 0.9952)])
    assert failure == "the mean test accuracy is 99.460%, at least 99.500% is wanted."


def test_run_with_too_much_memory_is_named() -> None:
    (failure,) = limit_failures([result(0), result(1, peak_bytes=5 * 2**30)])
    assert failure == "seed 1 took 5.00 GiB of memory, at most 4.00 GiB is allowed."


def test_seeds_that_are_no_numbers_are_refused() -> None:
    outcome = CliRunner().invoke(main, ["--seeds", "0;1"])
    assert outcome.exit_code == 2
    assert "'0;1': expected whole numbers with commas between" in outcome.output
