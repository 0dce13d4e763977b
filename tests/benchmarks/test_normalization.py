from benchmarks.normalization import RE_RENDERED_ROW, missed_targets

COST = {"pixels": 0.2, "added": 0.9, "decoding": 0.6}


def test_missed_targets() -> None:
    assert list(missed_targets({RE_RENDERED_ROW: 0.99}, {"28x28": COST})) == []
    slow = {"28x28": COST, "JPEG": {**COST, "added": 1.64}}
    assert list(missed_targets({RE_RENDERED_ROW: 0.984}, slow)) == [
        "accuracy on re-rendered images is 98.40%, expected at least 98.5%.",
        "JPEG: 1.04 ms per image, expected at most 1.0.",
    ]
