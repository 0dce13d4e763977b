import pytest

from benchmarks.outliers import DIGITS, KINDS, draw_outliers, missed_targets


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_images_are_drawn_again(kind: str) -> None:
    assert draw_outliers(kind, 2) == draw_outliers(kind, 2)


def test_missed_targets() -> None:
    shares = {DIGITS: 0.01, **{kind: least for kind, (_, least) in KINDS.items()}}
    assert list(missed_targets(shares)) == []
    assert list(missed_targets({**shares, DIGITS: 0.02, "noise": 0.985})) == [
        f"{DIGITS}: 2.0%, expected at most 1.5%.",
        "noise: 98.5%, expected at least 99%.",
    ]
