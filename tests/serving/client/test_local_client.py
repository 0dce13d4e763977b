from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from serving.client.client import ClientError, RejectedInputError
from serving.client.local_client import LocalClient


@pytest.mark.parametrize("image_shape", [(28, 28), (28, 28, 3)])
def test_images_are_answered_and_damaged_ones_rejected(
    tiny_model: Callable[..., Path], tmp_path: Path, png: bytes, image_shape: tuple[int, ...]
) -> None:
    classes = ("cat", "dog", "weißer Hai")
    with closing(LocalClient(tiny_model(tmp_path, 17, classes, image_shape))) as client:
        answers = client.predict([png, png])
        assert [(answer.label, answer.classes) for answer in answers] == [("weißer Hai", classes)] * 2
        assert (answers[0].status, answers[0].model_version) == ("ok", 17)
        assert client.normalize([png]).shape == (1, *image_shape)
        with pytest.raises(RejectedInputError, match=r"PNG"):
            client.predict([png, png[:60]])


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(
        ClientError, match=rf"^{tmp_path}: (?s:.*)\nName another version, or push a new one with `digits"
    ):
        LocalClient(tmp_path)
