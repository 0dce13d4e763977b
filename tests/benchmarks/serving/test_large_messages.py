import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.serving.large_messages import BODY_BYTES, LargeMessage, large_png, long_body
from benchmarks.serving.memory import MemoryUse
from benchmarks.serving.messages import Api

MEMORY = MemoryUse("100 MB body", before=1, peak=1, after=1)


def test_large_png_is_a_whole_image() -> None:
    image = Image.open(io.BytesIO(large_png(300)))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (300, 300))
    assert (np.asarray(image) == 255).all()


def test_compressed_it_is_small() -> None:
    assert len(large_png(3_000)) < 3_000 * 3_000 / 500


def test_long_body_would_be_read_if_it_were_allowed() -> None:
    body = long_body()
    assert BODY_BYTES - 4 <= len(body) <= BODY_BYTES
    # Reading it as JSON and base64 takes a second and says no more.
    assert body.startswith(b'{"instances": [{"b64": "AAAA')
    assert body.endswith(b'AAAA"}]}')


@pytest.mark.parametrize(
    ("api", "replies", "is_refused"),
    [
        (Api.REST, ["400: too large", "400: too large"], True),
        (Api.REST, ["400: too large", "413: too large"], False),
        (Api.REST, ["ServerDisconnectedError: "], False),
        (Api.GRPC, ["INVALID_ARGUMENT: too large"], True),
        (Api.GRPC, ["RESOURCE_EXHAUSTED: too large"], False),
        (Api.GRPC, [""], False),
    ],
)
def test_only_the_error_of_tf_serving_is_a_refusal(api: Api, replies: list[str], is_refused: bool) -> None:
    assert LargeMessage(api, replies, MEMORY, lives_on=True).is_refused == is_refused
