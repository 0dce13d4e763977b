from benchmarks.command_latency import Latency


def test_the_median_decides_not_the_slowest() -> None:
    latency = Latency("digits runs", [9.0, 0.1, 0.2], limit=0.5)
    assert latency.median == 0.2
    assert not latency.too_slow


def test_median_above_the_limit_is_too_slow() -> None:
    assert Latency("digits runs", [0.6, 0.1, 0.7], limit=0.5).too_slow
