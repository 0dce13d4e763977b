"""Inputs are sent in batches, and a wrong one costs no answer but its own."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image

from serving.client import batches
from serving.client.answers import Answer, Input
from serving.client.batches import answer_inputs, read_inputs
from serving.client.errors import ClientError, RejectedInputError


class Model:
    """Answers with the first byte, and refuses batches with an `x` in them."""

    def __init__(self) -> None:
        self.requests: list[list[bytes]] = []

    def ask(self, contents: Sequence[bytes]) -> list[Answer]:
        self.requests.append(list(contents))
        if b"x" in contents:
            raise RejectedInputError("this is an x\nand a stack trace")
        return [Answer(content[0], 1.0, (), "ok", None) for content in contents]


def inputs(text: str) -> list[Input]:
    return [Input("file", index, letter.encode()) for index, letter in enumerate(text)]


def test_batches_are_full_and_results_in_order() -> None:
    model = Model()
    results = list(answer_inputs(inputs("abcde"), model.ask, batch_size=2))
    assert model.requests == [[b"a", b"b"], [b"c", b"d"], [b"e"]]
    assert [chr(result.answer.digit) for result in results if result.answer] == list("abcde")
    assert [result.item.index for result in results] == [0, 1, 2, 3, 4]


def test_batches_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_BATCH_BYTES", 5)
    model = Model()
    contents = (b"aa", b"bbb", b"c", b"dddddddd", b"e")
    list(answer_inputs([Input("file", 0, content) for content in contents], model.ask, batch_size=10))
    assert model.requests == [[b"aa", b"bbb"], [b"c"], [b"dddddddd"], [b"e"]]


def test_only_the_wrong_one_of_a_batch_fails() -> None:
    model = Model()
    results = list(answer_inputs(inputs("axbc"), model.ask, batch_size=3))
    assert [(result.answer is not None, result.error) for result in results] == [
        (True, ""),
        (False, "this is an x"),
        (True, ""),
        (True, ""),
    ]
    assert model.requests == [[b"a", b"x", b"b"], [b"a"], [b"x"], [b"b"], [b"c"]]


def test_what_cannot_be_read_is_not_sent(tmp_path: Path) -> None:
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("text")
    sources = [str(tmp_path / name) for name in ("none.png", "a.png", "text.png")]
    model = Model()
    results = list(answer_inputs(read_inputs(sources), model.ask, batch_size=3))
    assert [result.item.source for result in results] == sources
    assert [result.error.partition(":")[0] for result in results] == [
        "cannot be read",
        "",
        "this is no image that can be read; expected PNG, JPEG, GIF, BMP, WebP or TIFF.",
    ]
    assert model.requests == [[Path(sources[1]).read_bytes()]]


def test_inputs_are_read_as_they_are_sent() -> None:
    model = Model()
    read = []

    def reading() -> Iterator[Input]:
        for item in inputs("abcdef"):
            read.append(item)
            yield item

    next(answer_inputs(reading(), model.ask, batch_size=2))
    assert len(read) == 3


def test_a_model_that_cannot_be_asked_ends_it() -> None:
    def ask(contents: Sequence[bytes]) -> list[Answer]:
        raise ClientError("nobody there")

    with pytest.raises(ClientError, match=r"^nobody there$"):
        list(answer_inputs(inputs("ab"), ask, batch_size=1))
