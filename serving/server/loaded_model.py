"""A pushed version in memory, loaded and asked as TF Serving does it: a graph in a session."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef

from registry.signatures import SERVING_DEFAULT
from serving.server.errors import ErrorCode, ServingError
from serving.server.signature_inputs import SignatureInputs, check_outputs
from serving.server.warm_up import read_warm_up

_INITIALIZATION = "__saved_model_init_op"

_CODES = {code.grpc_status.value[0]: code for code in ErrorCode} | {
    # What a client sent is beyond what an op takes.
    tf.errors.OUT_OF_RANGE: ErrorCode.INVALID_ARGUMENT,
    # A session that is being closed cancels what runs in it.
    tf.errors.CANCELLED: ErrorCode.UNAVAILABLE,
}


class ModelLoadError(ValueError):
    """A folder holds no model that can be loaded; the message says why."""


class LoadedModel:
    """A SavedModel loaded with the session-based loader, as TF Serving does.

    Args:
        directory: Folder of the SavedModel.
        num_threads: How many threads calculate a request. With one it is calculated in the thread that asks, which
            saves most of the time that a request with few images takes. The first model that is loaded decides for
            all operations of the process that are themselves parallel.

    Attributes:
        signatures: Its signatures by name.

    Raises:
        ModelLoadError: It cannot be loaded.
    """

    def __init__(self, directory: Path, num_threads: int = 1) -> None:
        self._directory = directory
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=_session_config(num_threads))
        try:
            meta_graph = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(directory))
        # Whatever the loader raises is what there is to say about the folder.
        except Exception as error:
            self._session.close()
            raise ModelLoadError(f"{directory}: {_reason(error)}") from error
        self.signatures: Mapping[str, SignatureDef] = _own_signatures(meta_graph)
        self._asks: dict[str, _Ask] = {}
        self._lock = Lock()

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Asks a signature; any number of threads may.

        Args:
            signature: Its name; empty for `serving_default`.
            inputs: Values by name, of the types of the signature; texts as arrays of `bytes` objects.
            outputs: Names of those wanted; empty for all.

        Returns:
            The outputs by name; texts as arrays of `bytes` objects.

        Raises:
            ServingError: The request is not one of the signature, or the graph refuses it.
        """
        try:
            ask = self._ask(signature or SERVING_DEFAULT)
            check_outputs(outputs, ask.outputs)
            answers = dict(zip(ask.outputs, ask.fetch(*ask.inputs.in_order(inputs)), strict=True))
        except tf.errors.OpError as error:
            raise ServingError(_CODES.get(error.error_code, ErrorCode.INTERNAL), error.message) from error
        return {name: answers[name] for name in outputs} if outputs else answers

    def warm_up(self) -> int:
        """Sends the model its own warm-up requests, so that the first client is not kept waiting.

        Returns:
            How many there were.

        Raises:
            ModelLoadError: They cannot be read, or one is not answered.
        """
        num_requests = 0
        try:
            for request in read_warm_up(self._directory):
                self.run(request.signature, request.inputs)
                num_requests += 1
        # TF Serving does not serve such a model, whatever the reason.
        except Exception as error:
            raise ModelLoadError(f"{self._directory}: warm-up request {num_requests}: {error}") from error
        return num_requests

    def close(self) -> None:
        """Frees the model; requests that still run, or come later, are refused."""
        self._session.close()

    def _ask(self, signature: str) -> "_Ask":
        ask = self._asks.get(signature)
        if ask:
            return ask
        if signature not in self.signatures:
            # TF Serving's words; its own code for it, FAILED_PRECONDITION, would blame the state of the server.
            raise ServingError(ErrorCode.INVALID_ARGUMENT, f'Serving signature key "{signature}" not found.')
        with self._lock:
            return self._asks.setdefault(signature, _Ask(self._session, self.signatures[signature]))


class _Ask:
    """A signature, ready to be asked."""

    def __init__(self, session: tf.compat.v1.Session, definition: SignatureDef) -> None:
        self.inputs = SignatureInputs(definition)
        self.outputs = sorted(definition.outputs)
        # All outputs, whichever are asked for: another set of them would be another graph to be made ready.
        options = CallableOptions(
            feed=[definition.inputs[name].name for name in self.inputs.names],
            fetch=[definition.outputs[name].name for name in self.outputs],
        )
        # Quicker than Session.run, which also refuses values of the wrong shape in words that TF Serving has not.
        self.fetch: Callable[..., list[np.ndarray]] = session._make_callable_from_options(options)


def _session_config(num_threads: int) -> tf.compat.v1.ConfigProto:
    # Minus one: no threads of the session's own.
    between_ops = num_threads if num_threads > 1 else -1
    return tf.compat.v1.ConfigProto(intra_op_parallelism_threads=num_threads, inter_op_parallelism_threads=between_ops)


def _own_signatures(meta_graph: MetaGraphDef) -> dict[str, SignatureDef]:
    # Copies: the originals would keep the whole graph in memory.
    definitions = meta_graph.signature_def.items()
    return {
        name: SignatureDef.FromString(it.SerializeToString()) for name, it in definitions if name != _INITIALIZATION
    }


def _reason(error: Exception) -> str:
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return f"{type(error).__name__}: {text.strip()}"
