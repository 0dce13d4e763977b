"""Requests that are far too large: whether the server refuses them, lives on, and gives the memory back."""

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.serving.clients import exchange, open_client
from benchmarks.serving.judgement import SwapLog
from benchmarks.serving.memory import MemoryUse, measure_memory
from benchmarks.serving.messages import Api, Request, grpc_message, rest_body
from benchmarks.serving.server_process import ServerProcess
from registry.signatures import SERVING_DEFAULT

BODY_BYTES = 100_000_000
PNG_SIZE = 30_000
REFUSALS = {Api.REST: "400", Api.GRPC: "INVALID_ARGUMENT"}

# The second shows whether anything is left of the first.
_NUM_TIMES = 3
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BITS_PER_PIXEL = 8
_GREYSCALE = 0


@dataclass(frozen=True)
class LargeMessage:
    """What became of a message that is too large.

    Attributes:
        api: How it was sent.
        replies: Code and message of each reply; empty for an answer.
        memory: What it cost.
        lives_on: Whether a good request was answered afterwards.
    """

    api: Api
    replies: Sequence[str]
    memory: MemoryUse
    lives_on: bool

    @property
    def is_refused(self) -> bool:
        """Whether every reply is the error that TF Serving gives."""
        return all(reply.startswith(REFUSALS[self.api]) for reply in self.replies)


async def send_large_messages(server: ServerProcess, good: Sequence[Request], version: int) -> list[LargeMessage]:
    """Sends a 100 MB body and an image of 30,000 by 30,000 pixels over both APIs, each several times.

    Args:
        server: The server.
        good: A request for each API that must be answered afterwards.
        version: Which version answers.
    """
    image = np.array([large_png(PNG_SIZE)], object)
    bodies = {Api.REST: long_body(), Api.GRPC: grpc_message(SERVING_DEFAULT, np.array([bytes(BODY_BYTES)], object))}
    images = {Api.REST: rest_body(SERVING_DEFAULT, image), Api.GRPC: grpc_message(SERVING_DEFAULT, image)}
    events = ((f"{BODY_BYTES // 10**6} MB body", bodies), (f"PNG of {PNG_SIZE:,} x {PNG_SIZE:,}", images))
    return [
        await _send(server, request, f"{name}, {request.api}", contents[request.api], version)
        for name, contents in events
        for request in good
    ]


def large_png(size: int) -> bytes:
    """Makes a white square, greyscale PNG without ever holding its pixels, of which it has size * size.

    Args:
        size: Width and height in pixels.
    """
    header = struct.pack(">IIBBBBB", size, size, _BITS_PER_PIXEL, _GREYSCALE, 0, 0, 0)
    compressor = zlib.compressobj(zlib.Z_BEST_COMPRESSION)
    # Each row begins with the number of its filter, of which 0 is none.
    row = b"\x00" + b"\xff" * size
    pixels = b"".join([*(compressor.compress(row) for _ in range(size)), compressor.flush()])
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return _PNG_SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def long_body() -> bytes:
    """Makes a JSON request of `BODY_BYTES` bytes, or up to four less, that is well-formed but for its size."""
    start, end = b'{"instances": [{"b64": "', b'"}]}'
    return start + base64.b64encode(bytes(3)) * ((BODY_BYTES - len(start + end)) // 4) + end


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


async def _send(server: ServerProcess, good: Request, event: str, content: bytes, version: int) -> LargeMessage:
    replies: list[str] = []

    async def send() -> None:
        for _ in range(_NUM_TIMES):
            async with open_client(good.api, server.address) as client:
                replies.append((await client.ask(content)).error)

    memory = await measure_memory(server.process, event, send)
    async with open_client(good.api, server.address) as client:
        problem = SwapLog.of_one_version(version).problem(await exchange(client, 0, good))
    return LargeMessage(good.api, replies, memory, lives_on=problem is None)
