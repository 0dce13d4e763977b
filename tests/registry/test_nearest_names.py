import pytest

from registry.nearest_names import nearest_names


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (["18"], "there is only 18"),
        (["9", "18", "170"], "there are 170, 18, 9"),
        (["9", "18", "170", "5"], "the nearest are 170, 18, 9; 1 other exists"),
        ([*map(str, range(1795828300, 1795828340)), "171", "7", "18"], "the nearest are 171, 7, 18; 40 others exist"),
    ],
)
def test_the_nearest_come_first_and_the_others_are_counted(known: list[str], expected: str) -> None:
    assert nearest_names("17", known) == expected
