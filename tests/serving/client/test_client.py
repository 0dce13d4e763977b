"""What a client makes of what an endpoint answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from serving.client.answers import Answer
from serving.client.client import Client, ServedOutputs
from serving.client.errors import ClientError, RejectedInputError


class Endpoint:
    """Answers as it is told."""

    def __init__(self, outputs: dict[str, Any] | Exception) -> None:
        self.outputs = outputs
        self.requests: list[tuple[str, str, Sequence[bytes]]] = []
        self.closed = False

    def ask(self, signature: str, input_name: str, values: Sequence[bytes]) -> ServedOutputs:
        self.requests.append((signature, input_name, values))
        if isinstance(self.outputs, Exception):
            raise self.outputs
        return ServedOutputs({name: np.asarray(value) for name, value in self.outputs.items()}, 17)

    def close(self) -> None:
        self.closed = True


def test_answers_of_images_and_of_records(column_outputs: dict[str, Any]) -> None:
    endpoint = Endpoint(column_outputs)
    client = Client(endpoint)
    expected = [
        Answer(7, 0.75, (0.0,) * 7 + (0.75, 0.25, 0.0), "ok", 17),
        Answer(-1, 0.1, (0.1,) * 10, "blank", 17),
    ]
    assert client.predict([b"a", b"b"]) == expected
    assert client.predict_examples([b"c", b"d"]) == expected
    assert endpoint.requests == [
        ("serving_default", "image_bytes", [b"a", b"b"]),
        ("examples", "examples", [b"c", b"d"]),
    ]
    client.close()
    assert endpoint.closed


def test_nothing_is_asked_about_nothing() -> None:
    endpoint = Endpoint(ClientError("asked"))
    assert Client(endpoint).predict([]) == []
    assert not endpoint.requests


def test_another_model_is_told_apart(column_outputs: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match=r"to 3 image\(s\) it answered 2 × probabilities, .* expected 3 × prob"):
        Client(Endpoint(column_outputs)).predict([b"a", b"b", b"c"])
    with pytest.raises(ClientError, match=r"not a model of the digit classifier: .* nothing that it should"):
        Client(Endpoint({"scores": [[0.5]]})).predict([b"a"])


def test_what_the_model_sees() -> None:
    endpoint = Endpoint({"image": np.full((1, 28, 28), 3)})
    seen = Client(endpoint).normalize([b"a"])
    assert (seen.dtype, seen.shape, seen.min()) == (np.float32, (1, 28, 28), 3)
    assert endpoint.requests == [("normalize", "image_bytes", [b"a"])]


@pytest.mark.parametrize("outputs", [RejectedInputError("no such signature"), {"scores": [0.5]}])
def test_a_model_that_cannot_tell_what_it_sees(outputs: Any) -> None:
    with pytest.raises(ClientError, match=r"does not tell what it sees \(.*\). One that was pushed before there was a"):
        Client(Endpoint(outputs)).normalize([b"a"])
