from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from serving.client import client
from serving.client.client import Answer, Client, ClientError, Input, RejectedInputError, predict_inputs


class FakeClient(Client):
    def __init__(self, outputs: dict[str, Any] | Exception) -> None:
        self.outputs = outputs
        self.requests: list[tuple[str, Sequence[bytes]]] = []

    def close(self) -> None:
        pass

    def _ask(self, signature: str, values: Sequence[bytes]) -> tuple[Mapping[str, np.ndarray], int | None]:
        self.requests.append((signature, values))
        if isinstance(self.outputs, Exception):
            raise self.outputs
        return {name: np.asarray(value) for name, value in self.outputs.items()}, 17


def test_images_and_records_are_answered(column_outputs: dict[str, Any]) -> None:
    fake = FakeClient(column_outputs)
    classes = ("a", "é", "日")
    expected = [
        Answer("é", 0.75, (0.0, 0.75, 0.25), classes, "ok", 17),
        Answer("", 0.5, (0.5, 0.25, 0.25), classes, "blank", 17),
    ]
    assert fake.predict([b"a", b"b"]) == expected
    assert fake.predict_examples([b"c", b"d"]) == expected
    assert fake.predict([]) == []
    assert fake.requests == [("serving_default", [b"a", b"b"]), ("examples", [b"c", b"d"])]


def test_versions_that_answer_digits_are_readable() -> None:
    outputs = {
        "digit": [1, -1],
        "probabilities": [[0.25, 0.75], [0.5, 0.5]],
        "confidence": [0.75, 0.5],
        "status": ["ok", "blank"],
    }
    assert FakeClient(outputs).predict([b"a", b"b"]) == [
        Answer("1", 0.75, (0.25, 0.75), ("0", "1"), "ok", 17),
        Answer("", 0.5, (0.5, 0.5), ("0", "1"), "blank", 17),
    ]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"label": ["a"]}, r"label\[1\], "),
        ({"label": [["a"], ["b"]]}, r"label\[2, 1\], "),
        ({"classes": [["a", "b"]] * 2}, r"classes\[2, 2\], probabilities\[2, 3\], "),
        ({"classes": "a"}, r"classes\[\], "),
        ({"label": None, "digit": [7, 7], "probabilities": None}, r"classes\[2, 3\], confidence"),
        (dict.fromkeys(("label", "classes", "probabilities", "confidence", "status")), "none of its outputs"),
    ],
)
def test_a_model_that_is_not_a_classifier(column_outputs: dict[str, Any], changes: dict[str, Any], found: str) -> None:
    outputs = {name: value for name, value in {**column_outputs, **changes}.items() if value is not None}
    message = rf"not an image classifier .*: for 2 input\(s\) it returned .*{found}.* expected 2 each of label, classes"
    with pytest.raises(ClientError, match=message):
        FakeClient(outputs).predict([b"a", b"b"])


def test_normalized_images() -> None:
    fake = FakeClient({"image": np.full((1, 28, 28), 3)})
    seen = fake.normalize([b"a"])
    assert (seen.dtype, seen.shape, seen.min()) == (np.float32, (1, 28, 28), 3)
    assert fake.requests == [("normalize", [b"a"])]


@pytest.mark.parametrize("outputs", [RejectedInputError("no such signature"), {"scores": [0.5]}])
def test_a_model_without_normalized_images(outputs: Any) -> None:
    with pytest.raises(
        ClientError, match=r"does not return normalized images \(.*\). If it is older than the signature"
    ):
        FakeClient(outputs).normalize([b"a"])


class Model:
    """Answers with the first letter, and rejects batches with an `x` in them."""

    def __init__(self) -> None:
        self.requests: list[list[bytes]] = []

    def predict(self, contents: Sequence[bytes]) -> list[Answer]:
        self.requests.append(list(contents))
        if b"x" in contents:
            raise RejectedInputError("this is an x\nand a stack trace")
        return [Answer(content.decode()[0], 1.0, (), (), "ok", None) for content in contents]


def inputs(text: str) -> list[Input]:
    return [Input("file", index, letter.encode()) for index, letter in enumerate(text)]


def test_batches_are_full_and_results_in_order() -> None:
    model = Model()
    results = list(predict_inputs(inputs("abcde"), model.predict, batch_size=2))
    assert model.requests == [[b"a", b"b"], [b"c", b"d"], [b"e"]]
    assert [result.answer.label for result in results if result.answer] == list("abcde")
    assert [result.item.index for result in results] == [0, 1, 2, 3, 4]


def test_batches_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_BATCH_BYTES", 5)
    model = Model()
    contents = (b"aa", b"bbb", b"c", b"dddddddd", b"e")
    list(predict_inputs([Input("file", 0, content) for content in contents], model.predict, batch_size=10))
    assert model.requests == [[b"aa", b"bbb"], [b"c"], [b"dddddddd"], [b"e"]]


def test_only_the_wrong_inputs_of_a_batch_fail() -> None:
    model = Model()
    unreadable = Input("text.png", 0, b"", "this is not an image")
    results = list(predict_inputs([unreadable, *inputs("axb")], model.predict, batch_size=4))
    assert [(result.answer is not None, result.error) for result in results] == [
        (False, "this is not an image"),
        (True, ""),
        (False, "the model refuses it: this is an x"),
        (True, ""),
    ]
    assert model.requests == [[b"a", b"x", b"b"], [b"a"], [b"x", b"b"], [b"x"], [b"b"]]


def test_inputs_are_read_as_they_are_sent() -> None:
    read = []

    def reading() -> Iterator[Input]:
        for item in inputs("abcdef"):
            read.append(item)
            yield item

    next(predict_inputs(reading(), Model().predict, batch_size=2))
    assert len(read) == 3


def test_an_unreachable_model_ends_the_predictions() -> None:
    def predict(_contents: Sequence[bytes]) -> list[Answer]:
        raise ClientError("connection refused")

    with pytest.raises(ClientError, match=r"^connection refused$"):
        list(predict_inputs(inputs("ab"), predict, batch_size=1))
