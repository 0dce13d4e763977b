"""Malformed input over both APIs and on the command line: each gets the documented error, and good input its answer."""

import base64
import csv
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp
import grpc
import numpy as np
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from yarl import URL

from benchmarks.mnist import dark_on_light, encode, load_mnist, our_example
from benchmarks.processes import DIGITS, ProcessFailedError, run_process
from benchmarks.reliability.trial import Trial
from benchmarks.serving.traffic import INPUTS, Address, grpc_message
from registry.signatures import EXAMPLES, PIXELS, SERVING_DEFAULT

_GOOD = encode(dark_on_light(load_mnist("test")[0][0], 100))
_JPEG = encode(dark_on_light(load_mnist("test")[0][0], 100), "JPEG")
_ZEROS = [[0] * 28] * 28

FILES: Mapping[str, bytes] = {
    "empty.png": b"",
    "text.png": b"no image",
    "signature-only.png": b"\x89PNG\r\n\x1a\n",
    "truncated.png": _GOOD[:-200],
    "checksum.png": _GOOD[:60] + bytes([_GOOD[60] ^ 255]) + _GOOD[61:],
    "truncated.jpg": _JPEG[: len(_JPEG) // 2],
    "header-only.jpg": b"\xff\xd8\xff\xe0",
    "header-only.gif": b"GIF89a\x01\x00",
    "header-only.bmp": b"BM" + bytes(24),
    "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "vector.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "page.pdf": b"%PDF-1.4\n",
    "web.webp": b"RIFF\x24\x00\x00\x00WEBPVP8 ",
    "frame.tiff": b"II*\x00\x08\x00\x00\x00",
    "null.png": bytes(1000),
    "archive.png": zlib.compress(bytes(10_000)),
}
"""Files that are not images, or not of a documented format, by name."""


def _instances(*instances: object, **members: object) -> bytes:
    return json.dumps({"instances": instances, **members}).encode()


def _image(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


_BODIES: Mapping[str, bytes] = {
    "no body": b"",
    "not UTF-8": b"\xff\xfe{}",
    "not JSON": b"{'instances': [1]}",
    "truncated JSON": _instances(_image(_GOOD))[:-10],
    "a list": b"[]",
    "a number": b"1e400",
    "no instances": b"{}",
    "empty instances": b'{"instances": []}',
    "null": b'{"instances": null}',
    "both formats": b'{"instances": [1], "inputs": [1]}',
    "nested 64 deep": b'{"instances": ' + b"[" * 64 + b"1" + b"]" * 64 + b"}",
    "nested 100,000 deep": b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "an unknown signature": _instances(_image(_GOOD), signature_name="classify"),
    "a signature of a wrong type": _instances(_image(_GOOD), signature_name=7),
    "an unknown input": _instances({"picture": _image(_GOOD)}),
    "invalid base64": b'{"instances": [{"b64": "*"}]}',
    "text for bytes": _instances("no image"),
    "27 columns": _instances([row[1:] for row in _ZEROS], signature_name=PIXELS),
    "ragged rows": _instances([*_ZEROS[1:], [0]], signature_name=PIXELS),
    "pixels as text": _instances("zeros", signature_name=PIXELS),
    "a pixel of NaN": b'{"signature_name": "pixels", "instances": [[[NaN]]]}',
    "an example that is not a protocol buffer": _instances(_image(b"\xff\xff\xff"), signature_name=EXAMPLES),
    "an example that is not UTF-8": _instances(_image(b"\x0a\x02\xff\xfe"), signature_name=EXAMPLES),
    "an example without an image": _instances(_image(b""), signature_name=EXAMPLES),
    "an example with a damaged image": _instances(
        _image(our_example(load_mnist("test")[0][0]).replace(b"IDAT", b"!!!!")), signature_name=EXAMPLES
    ),
    **{name: _instances(_image(content)) for name, content in FILES.items()},
    "a good and a bad image": _instances(_image(_GOOD), _image(FILES["truncated.png"])),
}

_PATHS: Mapping[str, int] = {
    "/v1/models/other:predict": 404,
    "/v1/models/digits/versions/99999999:predict": 404,
    "/v1/models/digits/versions/99999999999999999999:predict": 400,
    "/v1/models/digits/labels/none:predict": 400,
    "/v1/models/digits:classify": 501,
    "/v1/models/digits:explode": 400,
    "/v1/models/../../etc/passwd:predict": 400,
    "/v1/models/%00:predict": 404,
}


def _message(change: Callable[[PredictRequest], object]) -> bytes:
    request = PredictRequest.FromString(grpc_message(SERVING_DEFAULT, np.array([_GOOD], object)))
    change(request)
    return request.SerializeToString()


def _clear_shape(request: PredictRequest) -> None:
    request.inputs[INPUTS[SERVING_DEFAULT]].ClearField("tensor_shape")


def _grow_shape(request: PredictRequest) -> None:
    request.inputs[INPUTS[SERVING_DEFAULT]].tensor_shape.dim[0].size = 2**62


def _change_type(request: PredictRequest) -> None:
    request.inputs[INPUTS[SERVING_DEFAULT]].dtype = 1


def _send_example(request: PredictRequest) -> None:
    request.model_spec.signature_name = EXAMPLES
    request.inputs[EXAMPLES].CopyFrom(request.inputs[INPUTS[SERVING_DEFAULT]])
    del request.inputs[INPUTS[SERVING_DEFAULT]]
    request.inputs[EXAMPLES].string_val[0] = b"\x0a\x02\xff\xfe"


_MESSAGES: Mapping[str, bytes] = {
    "no message": b"",
    "not a protocol buffer": b"\xff" * 100,
    "a truncated message": _message(lambda request: None)[:-50],
    "no inputs": _message(lambda request: request.inputs.clear()),
    "an unknown signature": _message(lambda request: setattr(request.model_spec, "signature_name", "x")),
    "an unknown model": _message(lambda request: setattr(request.model_spec, "name", "x")),
    "a tensor without a shape": _message(_clear_shape),
    "a tensor of 2^62 images": _message(_grow_shape),
    "a tensor of another type": _message(_change_type),
    **{f"image {name}": grpc_message(SERVING_DEFAULT, np.array([content], object)) for name, content in FILES.items()},
    "an example that is not UTF-8": _message(_send_example),
}
_GRPC_ERRORS = {"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"}


async def send_malformed(address: Address) -> Trial:
    """Sends malformed requests to a server of the model `digits`, and a good one after each."""
    trial = Trial("malformed request (REST and gRPC)", "a documented error; the next good request is answered")
    origin = address.model_url.partition("/v1/")[0]
    paths = {f"path {path}": (path, _instances(_image(_GOOD)), (status,)) for path, status in _PATHS.items()}
    bodies = {f"body with {name}": ("/v1/models/digits:predict", body, (400,)) for name, body in _BODIES.items()}
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:

        async def post(path: str, body: bytes) -> int:
            async with session.post(URL(f"{origin}{path}", encoded=True), data=body) as response:
                await response.read()
                return response.status

        for name, (path, body, expected) in {**paths, **bodies}.items():
            trial.num_tries += 1
            if (status := await post(path, body)) not in expected:
                trial.problems.append(f"REST, {name}: {status}, expected {expected[0]}")
            if (status := await post("/v1/models/digits:predict", _instances(_image(_GOOD)))) != 200:
                trial.problems.append(f"REST, a good request after {name}: {status}")
    async with grpc.aio.insecure_channel(address.grpc_target) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for name, message in _MESSAGES.items():
            trial.num_tries += 1
            for content, codes in ((message, _GRPC_ERRORS), (_message(lambda request: None), {"OK"})):
                try:
                    await predict(content, timeout=30)
                    code = "OK"
                except grpc.aio.AioRpcError as error:
                    code = error.code().name
                if code not in codes:
                    trial.problems.append(f"gRPC, {name}: {code}, expected {' or '.join(sorted(codes))}")
    return trial


def predict_malformed(model: Path, folder: Path) -> Trial:
    """Runs `digits predict` on a folder of malformed files and one good image.

    Args:
        model: Folder of a pushed version, in a workspace.
        folder: An empty folder.
    """
    trial = Trial("malformed file (`digits predict`)", "an error row for each; the good image is answered", len(FILES))
    (folder / "images").mkdir()
    for name, content in {**FILES, "good.png": _GOOD}.items():
        (folder / "images" / name).write_bytes(content)
    workspace, name = model.parents[2], model.parent.name
    options = ["--workspace", str(workspace), "--model", name, "--output", str(folder / "predictions.csv")]
    try:
        run_process([DIGITS, "predict", *options, *map(str, sorted((folder / "images").iterdir()))])
    except ProcessFailedError as error:
        # Some files have no prediction.
        if "exit code 1" not in str(error) or "Traceback" in str(error):
            trial.problems.append(str(error))
            return trial
    with (folder / "predictions.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            is_good = Path(row["source"]).name == "good.png"
            if bool(row["error"]) is is_good:
                trial.problems.append(f"{row['source']}: {row['error'] or 'no error'}")
    return trial
