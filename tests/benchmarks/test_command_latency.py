from benchmarks.command_latency import too_slow


def test_the_median_decides() -> None:
    assert list(too_slow({"--help": [9.0, 0.1, 0.2]})) == []
    assert list(too_slow({"runs": [3.1, 0.1, 9.0]})) == ["digits runs takes 3.10 s, expected at most 3.0 s."]
