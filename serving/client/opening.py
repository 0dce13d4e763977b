"""Opens clients; each function imports what its kind of client needs, which for two of the three is TensorFlow."""

from pathlib import Path

from serving.client.client import Client


def open_rest(url: str, model: str, version: int | None = None) -> Client:
    """Returns a client of a REST server, such as `http://localhost:8501`; nothing is sent yet."""
    from serving.client.rest_client import RestEndpoint

    return Client(RestEndpoint(url, model, version))


def open_grpc(address: str, model: str, version: int | None = None) -> Client:
    """Returns a client of a gRPC server, such as `localhost:8500`; nothing is sent yet."""
    from serving.client.grpc_client import GrpcEndpoint

    return Client(GrpcEndpoint(address, model, version))


def open_local(directory: Path) -> Client:
    """Returns a client that has loaded the version in a folder.

    Raises:
        ClientError: It cannot be loaded.
    """
    from serving.client.local_client import LocalEndpoint

    return Client(LocalEndpoint(directory))
