from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from serving.server.errors import ErrorCode, ServingError
from serving.server.inference import Inference, Outputs, calculate


class Model:
    """Answers with what it was sent, and refuses a batch with a negative number in it."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def run(self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] = ()) -> Outputs:
        self.sizes.append(len(inputs["image"]))
        if (inputs["image"] < 0).any():
            raise ServingError(ErrorCode.INVALID_ARGUMENT, f"{inputs['image'].tolist()}: below zero")
        return dict(inputs)


MODEL = Model()


def inference(*images: float, model: Any = MODEL, **fields: Any) -> Inference:
    return Inference(**{"model": model, "signature": "pixels", "inputs": {"image": np.array(images)}, **fields})


def test_each_gets_its_part_of_what_is_calculated_at_once() -> None:
    model = Model()
    answers = calculate([inference(*images, model=model) for images in ((1, 2), (3,), (4, 5, 6))])
    assert [answer["image"].tolist() for answer in answers if isinstance(answer, dict)] == [[1, 2], [3], [4, 5, 6]]
    assert model.sizes == [6]


def test_a_bad_request_does_not_fail_its_neighbours() -> None:
    model = Model()
    good, bad, other = calculate([inference(1, model=model), inference(-1, model=model), inference(2, model=model)])
    assert isinstance(good, dict)
    assert isinstance(other, dict)
    assert (good["image"].tolist(), other["image"].tolist()) == ([1], [2])
    assert str(bad) == "[-1]: below zero"
    assert model.sizes == [3, 1, 1, 1]


class ScalarModel(Model):
    def run(self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] = ()) -> Outputs:
        return {"mean": np.asarray(super().run(signature, inputs)["image"].mean())}


def test_what_a_model_says_of_a_whole_batch_is_asked_one_by_one() -> None:
    model = ScalarModel()
    answers = calculate([inference(1, 3, model=model), inference(5, model=model)])
    assert [answer["mean"] for answer in answers if isinstance(answer, dict)] == [2, 5]


@pytest.mark.parametrize(
    "other",
    [
        inference(1, model=Model()),
        inference(1, signature="examples"),
        inference(1, outputs=("digit",)),
        inference(1, inputs={"images": np.array([1])}),
        inference(1, inputs={"image": np.array([1], np.float32)}),
        inference(1, inputs={"image": np.array([[1]])}),
        inference(1, inputs={"image": np.array(1)}),
        inference(1, inputs={"image": np.array([1]), "mask": np.array([1, 2])}),
    ],
)
def test_what_differs_is_not_joined(other: Inference) -> None:
    assert not other.can_join(inference(1))
    assert not inference(1).can_join(other)


def test_what_is_no_batch_is_joined_with_nothing() -> None:
    scalar = inference(inputs={"image": np.array(1)})
    assert not scalar.can_join(scalar)
    ragged = inference(inputs={"image": np.array([1]), "mask": np.array([1, 2])})
    assert not ragged.can_join(ragged)
    assert inference(1).can_join(inference(2, 3))


@pytest.mark.parametrize(
    ("inputs", "size"),
    [({}, 0), ({"image": np.array(1)}, 0), ({"image": np.zeros((3, 2)), "mask": np.zeros(1)}, 3)],
)
def test_the_number_of_images_is_the_longest_first_dimension(inputs: dict[str, np.ndarray], size: int) -> None:
    assert inference(inputs=inputs).num_images == size
