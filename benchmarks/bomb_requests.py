"""Small requests that cause a server much work, and the process that measures them; it imports only TensorFlow.

python -m benchmarks.bomb_requests MODEL
"""

import ctypes
import json
import os
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions, ConfigProto

from registry.signatures import INPUTS

MAX_BYTES = 8_000_000
Bomb = tuple[str, str, np.ndarray]
"""Name, signature and its input."""

_SIDE = 4000
# Only smaller image bombs are also sent in tf.Examples, where an image takes up to 32 bytes more.
_MAX_IN_EXAMPLES = 4_000_000
_EXAMPLE_OVERHEAD = 32
_GRAY, _RGB, _PALETTE, _RGBA = 0, 2, 3, 6
_CHANNELS = {_GRAY: 1, _RGB: 3, _PALETTE: 1, _RGBA: 4}
_NUM_MARKERS = 30_000


def make_bombs() -> Iterator[Bomb]:
    """Yields requests of up to `MAX_BYTES`, the same each time."""
    for name, files in (*_pngs(), *_jpegs(), *_gifs(), *_bmps(), *_others()):
        yield name, "serving_default", np.array(files, object)
        if sum(len(file) + _EXAMPLE_OVERHEAD for file in files) < _MAX_IN_EXAMPLES:
            yield f"examples, {name}", "examples", np.array([_example(image=file) for file in files], object)
    yield from _records()


def _example(**features: bytes | list[int]) -> bytes:
    example = tf.train.Example()
    for key, value in features.items():
        feature = example.features.feature[key]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.int64_list.value.extend(value)
    content: bytes = example.SerializeToString()
    return content


def _fill(unit: bytes, num_bytes: int = MAX_BYTES) -> bytes:
    return unit * (num_bytes // len(unit))


def _images(file: bytes) -> list[bytes]:
    return list(repeat(file, MAX_BYTES // (len(file) + 2)))


def _deflated(content: bytes, num_bytes: int = MAX_BYTES - 100) -> bytes:
    """Repeats compressed content up to a length, which is faster than zlib; the checksum is wrong."""
    deflate = zlib.compressobj(9)
    first, other = (deflate.compress(content) + deflate.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + other * ((num_bytes - len(first)) // len(other)) + deflate.flush()


def _chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(
    width: int,
    height: int,
    *,
    depth: int = 8,
    color: int = _GRAY,
    interlaced: bool = False,
    before: bytes = b"",
    behind: bytes = b"",
    data: bytes | None = None,
) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, color, 0, 0, interlaced))
    num_bytes = height * (width * depth * _CHANNELS[color] // 8 + 1 + 4 * interlaced)
    pixels = _chunk(b"IDAT", zlib.compress(bytes(num_bytes), 1) if data is None else data)
    return b"\x89PNG\r\n\x1a\n" + header + before + pixels + behind + _chunk(b"IEND")


def _pngs() -> Iterator[tuple[str, list[bytes]]]:
    text = zlib.compress(bytes(7_900_000), 9)
    small, large = partial(_png, 28, 28), partial(_png, _SIDE, _SIDE)
    texts = {
        "zTXt": _chunk(b"zTXt", b"a\0\0" + text),
        "iTXt": _chunk(b"iTXt", b"a\0\1\0\0\0" + text),
        "iCCP": _chunk(b"iCCP", b"a\0\0" + text),
    }
    for name, chunk in texts.items():
        yield f"PNG, 400 {name}", [small(before=chunk * 400)]
        yield f"PNG, 400 {name} behind the pixels", [small(behind=chunk * 400)]
    yield "PNG, 250 with zTXt", [small(before=texts["zTXt"])] * 250
    yield "PNG, 7 with zTXt, short", [small(before=texts["zTXt"])] * 7
    for name, chunk in {
        "tEXt": _chunk(b"tEXt", b"a\0b"),
        "sPLT": _chunk(b"sPLT", b"a\0\x08"),
        "IDAT": _chunk(b"IDAT"),
        "unknown": _chunk(b"abCd"),
        "damaged": _chunk(b"abCd")[:-1] + b"!",
    }.items():
        yield f"PNG, {name} chunks", [small(before=_fill(chunk))]
    yield "PNG, 28x28 of 7.5 GB", [small(data=_deflated(bytes(1 << 20)))]
    yield "PNG, 250 of 28x28 of 1 MB", [small(data=zlib.compress(bytes(1_000_000), 9))] * 250
    yield "PNG, 16 megapixels of 7.5 GB", [large(data=_deflated(bytes(1 << 20)))]
    random = np.random.default_rng(0)
    runs = np.repeat(random.integers(0, 256, 60_000, np.uint8), random.integers(1, 2000, 60_000)).tobytes()
    yield "PNG, 16 megapixels of 2 GB of runs", [large(data=_deflated(bytes(17 << 20) + runs))]
    yield "PNG, 16 megapixels", [large()]
    yield "PNG, 400 of 16 megapixels", [large(depth=1)] * 400
    yield "PNG, 16 megapixels, RGBA, 16 bits, interlaced", [large(depth=16, color=_RGBA, interlaced=True)]
    yield "PNG, 200 of 256x256, RGBA", [_png(256, 256, color=_RGBA)] * 200
    yield "PNG, 16 of 1x1,000,000", [_png(1, 1_000_000, interlaced=True)] * 16
    yield "PNG, 1x16,000,000", [_png(1, 16_000_000)]
    yield "PNG, 0x0", [_png(0, 0)]
    yield "PNG, 256 of 28x28", [small()] * 256
    yield "PNG, 100,000 of 1x1", _images(_png(1, 1))


def _jpegs() -> Iterator[tuple[str, list[bytes]]]:
    encode = tf.io.encode_jpeg
    page = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    baseline = encode(page, chroma_downsampling=False).numpy()
    progressive = encode(page, chroma_downsampling=False, progressive=True).numpy()
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    scans = [progressive[:-2] + scan * number + b"\xff\xd9" for number in (_NUM_MARKERS, 14)]
    yield "JPEG, 30,000 scans", [scans[0]]
    yield "JPEG, 30,000 empty scans", [progressive[:-2] + (scan[:10] + b"\0") * _NUM_MARKERS + b"\xff\xd9"]
    yield "JPEG, 24 scans", [scans[1]]
    part = encode(page[:250, :250], chroma_downsampling=False, progressive=True).numpy()
    yield (
        "JPEG, 250 of 250x250 with 24 scans",
        [part[:-2] + part[part.rindex(b"\xff\xda") : -2] * 14 + b"\xff\xd9"] * 250,
    )
    yield (
        "JPEG, text like 4,000,000 scans",
        [
            baseline[:2]
            + _fill(b"\xff\xfe\xff\xff" + b"\xff\xda" * 32766 + b"!", MAX_BYTES - len(baseline))
            + baseline[2:]
        ],
    )
    start = baseline.index(b"\xff\xc0")
    for name, marker in {
        "arithmetic": b"\xff\xc9",
        "arithmetic, progressive": b"\xff\xca",
        "lossless": b"\xff\xc3",
    }.items():
        yield f"JPEG, {name}", [baseline[:start] + marker + baseline[start + 2 :]]
    tables = baseline.index(b"\xff\xc4")
    table = baseline[tables : tables + 2 + struct.unpack(">H", baseline[tables + 2 : tables + 4])[0]]
    for name, segment in {
        "DHT": table,
        "COM": b"\xff\xfe\0\2",
        "DRI": b"\xff\xdd\0\4\0\1",
        "fill bytes": b"\xff",
    }.items():
        yield f"JPEG, {name}", [baseline[:2] + _fill(segment, MAX_BYTES - len(baseline)) + baseline[2:]]
    noise = np.random.default_rng(0).integers(0, 256, (1600, 1600, 3), np.uint8)
    yield "JPEG, noise", [encode(noise, quality=100, progressive=True, chroma_downsampling=False).numpy()]
    yield "JPEG, 16 megapixels, progressive", [progressive]
    thin = encode(np.zeros((65_500, 1, 3), np.uint8)).numpy()
    yield "JPEG, 250 of 1x65,500", [thin] * 250
    no_lines = baseline[: start + 5] + b"\0\0" + baseline[start + 7 :]
    yield "JPEG, number of lines at the end", [no_lines[:-2] + b"\xff\xdc\0\4\x0f\xa0\xff\xd9"]
    yield "JPEG, 30,000 of 8x8", _images(encode(np.zeros((8, 8, 3), np.uint8)).numpy())


def _gif(width: int, height: int, before: bytes = b"", data: bytes = b"\x02\x44\x01\0") -> bytes:
    screen = struct.pack("<2H3B", width, height, 0x80, 0, 0) + bytes(6)
    return b"GIF89a" + screen + before + b"," + struct.pack("<4HB", 0, 0, width, height, 0) + b"\2" + data + b";"


def _gif_zeros(num_pixels: int) -> bytes:
    """Compresses zeros by LZW: each code is one pixel longer than the one before."""
    codes, width = "", 3
    while num_pixels:
        codes += f"{4:0{width}b}"[::-1]
        for code in (0, *range(6, 4096)):
            length, width = min(max(1, code - 4), num_pixels), max(3, code.bit_length())
            codes += f"{0 if length == 1 else length + 4:0{width}b}"[::-1]
            num_pixels -= length
            if not num_pixels:
                break
    codes += f"{5:0{width}b}"[::-1] + "0" * 8
    data = bytes(int(codes[start : start + 8][::-1], 2) for start in range(0, len(codes) - 7, 8))
    return b"".join(bytes([len(part)]) + part for part in (data[i : i + 255] for i in range(0, len(data), 255))) + b"\0"


def _gifs() -> Iterator[tuple[str, list[bytes]]]:
    for name, extension in {"empty extensions": b"!\xfe\0", "extensions": b"!\xfe\1a\0"}.items():
        yield f"GIF, {name}", [_gif(28, 28, _fill(extension))]
    for name, unit in {"1": b"\1a", "1 and 2": b"\1a\2aa", "255": b"\xff" + b"a" * 255}.items():
        yield f"GIF, extension in blocks of {name}", [_gif(28, 28, b"!\xfe" + _fill(unit) + b"\0")]
        yield f"GIF, data in blocks of {name}", [_gif(28, 28, data=_fill(unit) + b"\0")]
    yield "GIF, 16 megapixels", [_gif(_SIDE, _SIDE, data=_gif_zeros(_SIDE**2))]
    frame = _gif(1000, 1000, data=_gif_zeros(10**6))
    yield "GIF, 1,500 frames", [frame[:-1] + frame[19:-1] * 1500 + b";"]
    yield "GIF, 256 with 4,000 extensions", [_gif(28, 28, b"!\xfe\1a\0" * 4000, _gif_zeros(784))] * 256
    yield "GIF, 0x0", [_gif(0, 0)]


def _bmp(width: int, height: int, depth: int = 8, compression: int = 0, offset: int = 54, pixels: bytes = b"") -> bytes:
    header = struct.pack("<I2i2H6I", 40, width, height, 1, depth, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<3I", 54 + len(pixels), 0, offset) + header + pixels


def _bmps() -> Iterator[tuple[str, list[bytes]]]:
    yield "BMP, 8 megapixels", [_bmp(2800, 2800, pixels=bytes(2800 * 2800))]
    yield "BMP, RLE", [_bmp(_SIDE, _SIDE, compression=1, pixels=b"\xff\0" * 100_000)]
    yield "BMP, pixels far behind", [_bmp(28, 28, offset=1 << 31, pixels=bytes(784))]
    yield "BMP, smallest height", [_bmp(28, -(2**31), pixels=bytes(784))]
    yield "BMP, 1x7,900,000", [_bmp(7_900_000, 1, pixels=bytes(7_900_000))]
    yield "BMP, 100,000 of 1x1", _images(_bmp(1, 1, pixels=bytes(4)))


def _others() -> Iterator[tuple[str, list[bytes]]]:
    yield "4,000,000 empty files", [b""] * (MAX_BYTES // 2)
    yield "no image", [bytes(MAX_BYTES)]


def _records() -> Iterator[Bomb]:
    good = _example(image=_png(28, 28))
    # Concatenated messages merge, so a feature can occur many times.
    for name, examples in {
        "a list of 7,900,000 numbers": [_example(image=[0] * 7_900_000)],
        "400,000 features": [good + _example(**{f"{number:06}": [0] for number in range(400_000)})],
        "the same feature 400,000 times": [_example(image=b"") * 400_000 + good],
        "the same 230,000 times": [_example(image=b"") * 230_000 + good],
        "9,000 records": _images(good),
        "4,000,000 empty records": [b""] * (MAX_BYTES // 2),
        "2,048 records": [good] * 2048,
    }.items():
        yield f"examples, {name}", "examples", np.array(examples, object)
    yield "pixels, 2,048 images", "pixels", np.zeros((2048, 28, 28), np.float32)
    yield "pixels, 2,500 images", "pixels", np.zeros((2500, 28, 28), np.float32)
    yield "pixels, 2,000,000 rows", "pixels", np.zeros((2_000_000, 1, 1), np.float32)
    yield "normalize, 256 of 28x28", "normalize", np.array([_png(28, 28)] * 256, object)


def main(model: str) -> None:
    """Sends the bombs to a model in the session of TF Serving, on one core; prints a line of JSON for each."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    bombs = list(make_bombs())
    config = ConfigProto(inter_op_parallelism_threads=1, intra_op_parallelism_threads=1)
    with tf.compat.v1.Session(graph=tf.Graph(), config=config) as session:
        graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], model)
        asks = {}
        for name in INPUTS:
            signature = graph.signature_def[name]
            feeds, fetches = (
                [tensor.name for tensor in each.values()] for each in (signature.inputs, signature.outputs)
            )
            asks[name] = session._make_callable_from_options(CallableOptions(feed=feeds, fetch=fetches))
        asks["serving_default"](np.array([_png(28, 28)], object))
        _forget_peak()
        start_memory = _memory("VmRSS")
        for name, signature, values in bombs:
            _forget_peak()
            start, answer = time.process_time(), "ok"
            try:
                asks[signature](values)
            except tf.errors.OpError as error:
                answer = error.message.partition("\n")[0].removeprefix("assertion failed: ").partition("\t")[0].strip()
            seconds = time.process_time() - start
            # As in a protocol buffer, a length comes before each string.
            num_bytes = sum(len(value) + 2 for value in values) if values.dtype == object else values.nbytes
            row = {"name": name, "num_bytes": num_bytes, "cpu_seconds": seconds, "answer": answer}
            print(json.dumps({**row, "megabytes": max(0.0, _memory("VmHWM") - start_memory)}), flush=True)


def _forget_peak() -> None:
    ctypes.CDLL(None).malloc_trim(0)
    # man 5 proc
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _memory(key: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition(f"{key}:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main(sys.argv[1])
