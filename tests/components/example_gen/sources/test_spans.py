from pathlib import Path

import fsspec
import pytest

from components.example_gen.sources import DataError
from components.example_gen.sources.spans import resolve_span


@pytest.fixture
def spans(tmp_path: Path) -> Path:
    """Spans 1, 2 and 10 as files, folders, and with numbers of five digits."""
    for number in (1, 2, 10):
        (tmp_path / f"mnist-{number}.npz").touch()
        (tmp_path / f"padded-{number:05d}.npz").touch()
        (tmp_path / f"day-{number}").mkdir()
        (tmp_path / f"day-{number}" / "train.csv").touch()
    (tmp_path / "mnist-11.npz.part").touch()
    (tmp_path / "mnist-x.npz").touch()
    (tmp_path / "padded-20.npz").touch()
    (tmp_path / "day-11").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "span", "expected"),
    [
        ("mnist-{SPAN}.npz", None, ("mnist-10.npz", 10)),
        ("mnist-{SPAN}.npz", 2, ("mnist-2.npz", 2)),
        ("padded-{SPAN:5}.npz", None, ("padded-00010.npz", 10)),
        ("padded-{SPAN:5}.npz", 1, ("padded-00001.npz", 1)),
        ("day-{SPAN}", None, ("day-11", 11)),
        ("day-{SPAN}/", 2, ("day-2/", 2)),
        ("day-{SPAN}/train.csv", None, ("day-10/train.csv", 10)),
    ],
)
def test_resolves_patterns(spans: Path, pattern: str, span: int | None, expected: tuple[str, int]) -> None:
    name, number = expected
    assert resolve_span(f"{spans}/{pattern}", span) == (f"{spans}/{name}", number)


def test_resolves_relative_paths(spans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(spans)
    assert resolve_span("mnist-{SPAN}.npz", None) == ("mnist-10.npz", 10)


def test_resolves_uris() -> None:
    for number in (0, 3):
        fsspec.filesystem("memory").pipe_file(f"/spans/{number}/mnist.npz", b"")
    assert resolve_span("memory://spans/{SPAN}/mnist.npz", None) == ("memory://spans/3/mnist.npz", 3)
    assert resolve_span("memory://spans/{SPAN}/mnist.npz", 0) == ("memory://spans/0/mnist.npz", 0)


def test_sees_spans_that_came_in_later(spans: Path) -> None:
    pattern = f"{spans}/mnist-{{SPAN}}.npz"
    assert resolve_span(pattern, None)[1] == 10
    (spans / "mnist-12.npz").touch()
    assert resolve_span(pattern, None)[1] == 12


@pytest.mark.parametrize("span", [None, 0])
def test_a_path_without_pattern_stays_as_it_is(span: int | None) -> None:
    assert resolve_span("data/mnist.npz", span) == ("data/mnist.npz", 0)


def test_refuses_a_span_of_a_path_without_pattern() -> None:
    with pytest.raises(DataError, match=r"data/mnist.npz: found span 3 asked for, expected \{SPAN\} in the path"):
        resolve_span("data/mnist.npz", 3)


@pytest.mark.parametrize("pattern", ["other-{SPAN}.npz", "none/{SPAN}/mnist.npz", "padded-{SPAN:3}.npz"])
def test_refuses_a_pattern_that_matches_nothing(spans: Path, pattern: str) -> None:
    expected = pattern.replace("{", r"\{").replace("}", r"\}")
    with pytest.raises(
        DataError, match=f"{spans}/{expected}: found no span, expected a file or folder that the pattern"
    ):
        resolve_span(f"{spans}/{pattern}", None)


@pytest.mark.parametrize("span", [3, -1])
def test_names_the_spans_that_are_there(spans: Path, span: int) -> None:
    message = rf"\.npz: found no span {span}, expected one of the spans that are there \(1, 2, 10\)"
    with pytest.raises(DataError, match=message):
        resolve_span(f"{spans}/mnist-{{SPAN}}.npz", span)


def test_refuses_two_placeholders() -> None:
    with pytest.raises(DataError, match=r"found 2 placeholders, expected one \{SPAN\}"):
        resolve_span("data/{SPAN}/mnist-{SPAN:2}.npz", None)


@pytest.mark.parametrize("placeholder", ["{SPAN:}", "{SPAN:x}", "{SPAN:0}", "{SPAN", "{SPANS}"])
def test_refuses_a_malformed_placeholder(placeholder: str) -> None:
    with pytest.raises(DataError, match=r"found a malformed placeholder, expected one \{SPAN\} or \{SPAN:5\}"):
        resolve_span(f"data/{placeholder}/mnist.npz", None)


def test_refuses_a_number_that_is_there_twice(spans: Path) -> None:
    (spans / "mnist-02.npz").touch()
    with pytest.raises(DataError, match=r"found span 2 twice \('mnist-02.npz', 'mnist-2.npz'\)"):
        resolve_span(f"{spans}/mnist-{{SPAN}}.npz", None)
