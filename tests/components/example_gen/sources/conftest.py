import pytest

from components.example_gen.sources import storage


@pytest.fixture
def memory_uris(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allows `memory://`, a file system of fsspec that needs no server."""
    monkeypatch.setattr(storage, "PROTOCOLS", ["file", "memory"])
