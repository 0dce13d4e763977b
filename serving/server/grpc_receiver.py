"""Receives the messages of gRPC requests within the limits of the server."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving.server.admission import SetSize
from serving.server.interface import RETRY_SECONDS, ServerOptions, ServingError, invalid
from serving.server.model_server import ModelServer

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
# As in TF Serving's `grpc_status_util.cc`: the message travels in a header.
_MAX_MESSAGE_CHARACTERS = 1024
# gRPC clients obey it if they retry this code at all.
_RETRY_METADATA = (("grpc-retry-pushback-ms", str(1000 * RETRY_SECONDS)),)
# Most messages arrive within this time, and only little data can.
_PROMPT_SECONDS = 0.05

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]]


def set_error(context: grpc.aio.ServicerContext, error: ServingError) -> None:
    """Sets the status of a refused request.

    Does not call `context.abort`: the traceback of its exception would keep the request alive until the garbage
    collector runs. The same holds for the traceback of the error.
    """
    error.__traceback__ = None
    message = error.message
    if len(message) > _MAX_MESSAGE_CHARACTERS:
        message = f"{message[:_MAX_MESSAGE_CHARACTERS]}...TRUNCATED"
    context.set_code(error.code)
    context.set_details(message)
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        context.set_trailing_metadata(_RETRY_METADATA)


class Receiver(grpc.aio.ServerInterceptor):
    """Reads the message of a request, in place of gRPC, once the server admits the request.

    Args:
        server: Admits requests.
        options: The limits on size and time of a message.
    """

    def __init__(self, server: ModelServer, options: ServerOptions) -> None:
        self._server = server
        self._options = options
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """Called by gRPC for each request, before its message is read."""
        method = handler_call_details.method
        if method not in self._handlers:
            handler = await continuation(handler_call_details)
            if handler is None or not handler.unary_unary:
                return handler
            self._handlers[method] = self._reading(handler, runs_model=method == _PREDICT)
        return self._handlers[method]

    def _reading(self, handler: grpc.RpcMethodHandler, *, runs_model: bool) -> grpc.RpcMethodHandler:
        # gRPC reads the message of a stream only when the handler calls `read`.
        async def answer(_messages: object, context: grpc.aio.ServicerContext) -> Any | None:
            return await self._answer(handler, context, runs_model)

        return grpc.stream_unary_rpc_method_handler(answer, response_serializer=handler.response_serializer)

    async def _answer(self, handler: Any, context: grpc.aio.ServicerContext, runs_model: bool) -> Any | None:
        start = time.perf_counter()
        try:
            with self._server.admitted(runs_model=runs_model) as set_size:
                request = await self._receive(handler.request_deserializer, context, set_size)
                return await handler.unary_unary(request, context)
        except ServingError as error:
            if runs_model:
                self._server.count(ModelSpec(), "GRPC", error.code, start)
            set_error(context, error)
            return None

    async def _receive(
        self, deserialize: Callable[[bytes], Any], context: grpc.aio.ServicerContext, set_size: SetSize
    ) -> Any:
        loop, seconds = asyncio.get_running_loop(), self._options.request_timeout_seconds
        refusals: list[ServingError] = []
        due = loop.time() + _PROMPT_SECONDS
        timer: asyncio.TimerHandle

        def count_as_largest() -> None:
            nonlocal due, timer
            if loop.time() > due + _PROMPT_SECONDS:
                # The event loop was busy: the message may have arrived in the meantime.
                due = loop.time() + _PROMPT_SECONDS
                timer = loop.call_at(due, count_as_largest)
                return
            timeout.reschedule(loop.time() + seconds)
            try:
                set_size(0, self._options.max_body_bytes)
            except ServingError as error:
                refusals.append(error)
                timeout.reschedule(loop.time())

        # gRPC does not tell how much of a message has arrived.
        timer = loop.call_at(due, count_as_largest)
        try:
            async with asyncio.timeout(None) as timeout:
                message = await context.read()
        except TimeoutError:
            late = ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, f"The message did not arrive within {seconds:g} s.")
            raise (refusals or [late])[0] from None
        finally:
            timer.cancel()
        if not isinstance(message, bytes):
            # If the message was too large, gRPC has already sent the client its limit.
            raise invalid("The request has no message.")
        set_size(len(message), 0)
        try:
            return deserialize(message)
        except DecodeError:
            raise invalid("The message cannot be decoded; expected the request message of this method.") from None
