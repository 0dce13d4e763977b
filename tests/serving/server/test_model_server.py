import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.server.errors import ErrorCode, ServingError
from serving.server.model_server import Api, ModelRequest, VersionState, VersionStatus
from serving.server.observer import FinishedRequest

Publish = Callable[..., Path]
Serve = Callable[..., Any]
RequestFor = Callable[..., ModelRequest]

TWO_VERSIONS = """
model_config_list { config {
  name: "digits"
  model_version_policy { latest { num_versions: 2 } }
  version_labels { key: "stable" value: 1 }
  version_labels { key: "canary" value: 2 }
  version_labels { key: "gone" value: 3 }
} }
"""


def test_an_answer_says_who_gave_it_and_is_counted(
    root: Path, serve: Serve, tiny_model: Publish, request_for: RequestFor, png: bytes
) -> None:
    tiny_model(root / "digits", 5)

    async def scenario() -> None:
        async with serve(root) as (server, notes):
            images = {"image_bytes": np.array([png, png, png], object)}
            answer = await server.predict(request_for(np.empty(0), signature="", inputs=images, api=Api.GRPC))
            assert (answer.name, answer.version, answer.signature) == ("digits", 5, "serving_default")
            assert answer.outputs["digit"].tolist() == [5, 5, 5]
            (note,) = notes.requests
            assert note == FinishedRequest("digits", 5, "serving_default", Api.GRPC, None, note.seconds, 3)
            assert note.seconds > 0

    asyncio.run(scenario())


def test_versions_and_labels_are_served_as_models_config_says(
    root: Path, serve: Serve, tiny_model: Publish, request_for: RequestFor, pixels: np.ndarray
) -> None:
    for version in (1, 2):
        tiny_model(root / "digits", version)
    (root / "models.config").write_text(TWO_VERSIONS)

    async def scenario() -> None:
        async with serve(root) as (server, _):
            choices: list[tuple[dict[str, Any], int]] = [
                ({}, 2),
                ({"version": 1}, 1),
                ({"label": "stable"}, 1),
                ({"label": "canary"}, 2),
            ]
            for choice, expected in choices:
                answer = await server.predict(request_for(pixels, **choice))
                assert (answer.version, answer.outputs["confidence"].tolist()) == (expected, [expected] * 2)
            assert server.signatures("digits", label="stable")[0] == 1
            assert server.signatures("digits")[0] == 2
            assert set(server.signatures("digits")[1]) == {"serving_default", "pixels", "examples", "normalize"}
            assert [status.version for status in server.statuses("digits")] == [2, 1]
            assert server.statuses("digits", label="stable") == [VersionStatus(1, VersionState.AVAILABLE)]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"name": "none"}, ErrorCode.NOT_FOUND, r"^Servable not found for request: Latest\(none\)$"),
        (
            {"name": "none", "version": 3},
            ErrorCode.NOT_FOUND,
            r"^Servable not found for request: Specific\(none, 3\)$",
        ),
        ({"version": 3}, ErrorCode.NOT_FOUND, r"^Servable not found for request: Specific\(digits, 3\)$"),
        ({"label": "gone"}, ErrorCode.NOT_FOUND, r"^Servable not found for request: Specific\(digits, 3\)$"),
        ({"label": "none"}, ErrorCode.INVALID_ARGUMENT, "^Unrecognized servable version label: none$"),
        ({"signature": "none"}, ErrorCode.INVALID_ARGUMENT, '^Serving signature key "none" not found.$'),
        (
            {"inputs": {"image": np.zeros((3, 28, 28), np.float32)}},
            ErrorCode.INVALID_ARGUMENT,
            "^Task size 3 is larger than maximum input batch size 2$",
        ),
        (
            {"inputs": {"image": np.zeros((0, 28, 28), np.float32)}},
            ErrorCode.INVALID_ARGUMENT,
            "^The batch is empty; expected at least one image.$",
        ),
        ({"outputs": ("logits",)}, ErrorCode.INVALID_ARGUMENT, "^output tensor alias not found in signature: logits"),
    ],
)
def test_bad_requests_are_refused_in_tf_servings_words_and_counted(
    root: Path,
    serve: Serve,
    tiny_model: Publish,
    request_for: RequestFor,
    pixels: np.ndarray,
    changes: dict[str, Any],
    code: ErrorCode,
    message: str,
) -> None:
    tiny_model(root / "digits", 2)
    (root / "models.config").write_text(TWO_VERSIONS)

    async def scenario() -> None:
        async with serve(root, max_batch_size=2) as (server, notes):
            with pytest.raises(ServingError, match=message) as error:
                await server.predict(request_for(pixels, **changes))
            assert error.value.code == code
            (note,) = notes.requests
            assert note.error == code
            # Clients cannot fill the counters with names that they make up.
            assert (note.model, note.signature) == (
                "" if "name" in changes else "digits",
                "" if note.version is None or "signature" in changes else "pixels",
            )
            assert (await server.predict(request_for(pixels))).version == 2

    asyncio.run(scenario())


def test_what_there_is_not_has_no_status_and_no_signatures(root: Path, serve: Serve, tiny_model: Publish) -> None:
    tiny_model(root / "digits", 2)

    async def scenario() -> None:
        async with serve(root) as (server, _):
            with pytest.raises(ServingError, match="^Could not find any versions of model none$") as error:
                server.statuses("none")
            assert error.value.code == ErrorCode.NOT_FOUND
            with pytest.raises(ServingError, match="^Could not find version 3 of model digits$"):
                server.statuses("digits", 3)
            with pytest.raises(ServingError, match="^Unrecognized servable version label: stable$"):
                server.statuses("digits", label="stable")
            with pytest.raises(ServingError, match=r"^Servable not found for request: Specific\(digits, 3\)$"):
                server.signatures("digits", 3)

    asyncio.run(scenario())
