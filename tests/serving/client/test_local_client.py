from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from serving.client.client import ClientError, RejectedInputError
from serving.client.local_client import LocalClient


def test_images_are_answered_and_damaged_ones_rejected(
    tiny_model: Callable[..., Path], tmp_path: Path, png: bytes
) -> None:
    with closing(LocalClient(tiny_model(tmp_path, 17))) as client:
        answers = client.predict([png, png])
        assert [(answer.digit, answer.status, answer.model_version) for answer in answers] == [(7, "ok", 17)] * 2
        assert client.normalize([png]).shape == (1, 28, 28)
        with pytest.raises(RejectedInputError, match=r"PNG"):
            client.predict([png, png[:60]])


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(
        ClientError, match=rf"^{tmp_path}: (?s:.*)\nName another version, or push a new one with `digits"
    ):
        LocalClient(tmp_path)
