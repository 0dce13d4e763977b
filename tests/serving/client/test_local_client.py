"""A pushed version in this process."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from serving.client.client import Client
from serving.client.errors import ClientError, RejectedInputError
from serving.client.local_client import LocalEndpoint


@pytest.fixture
def version(tiny_model: Callable[..., Path], tmp_path: Path) -> Path:
    return tiny_model(tmp_path, 17)


def test_images_are_answered(version: Path, png: bytes) -> None:
    with closing(Client(LocalEndpoint(version))) as client:
        answers = client.predict([png, png])
        assert [(answer.digit, answer.status, answer.model_version) for answer in answers] == [(7, "ok", 17)] * 2
        assert client.normalize([png]).shape == (1, 28, 28)


def test_a_wrong_image_and_a_wrong_signature_are_rejected(version: Path, png: bytes) -> None:
    with closing(LocalEndpoint(version)) as endpoint:
        with pytest.raises(RejectedInputError, match=r"PNG"):
            endpoint.ask("serving_default", "image_bytes", [png, png[:60]])
        with pytest.raises(RejectedInputError, match=r'^Serving signature key "none" not found\.$'):
            endpoint.ask("none", "image_bytes", [png])


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(
        ClientError, match=rf"^{tmp_path}: (?s:.*)\nName another version, or push a new one with `digits"
    ):
        LocalEndpoint(tmp_path)
