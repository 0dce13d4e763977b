"""Which data a run reads: resolved and fingerprinted when the pipeline is built, so that changed data always reruns."""

from dataclasses import dataclass

from components.example_gen.sources import fingerprint, open_source
from components.example_gen.sources.spans import resolve_span
from components.example_gen.sources.storage import full_uri

URI_KEY = "uri"
SPAN_KEY = "span"
FINGERPRINT_KEY = "fingerprint"
"""Names of what follows as execution properties of MnistExampleGen and properties of the examples that it writes."""


@dataclass(frozen=True)
class DataVersion:
    """One version of the data.

    Attributes:
        uri: Where it is, with the span filled in; a local path is absolute.
        span: Its span, 0 where the URI has no `{SPAN}`.
        fingerprint: SHA-256 of its content.
    """

    uri: str
    span: int
    fingerprint: str


def find_data(uri: str, span: int | None) -> DataVersion:
    """Finds the data now, by its location and its content.

    Args:
        uri: Path or URL of the data, which may hold `{SPAN}`.
        span: The span to read; the newest if None.

    Raises:
        DataError: There is no such data, or it is of no known layout.
    """
    found_uri, found_span = resolve_span(uri, span)
    # The cache compares the URI, too: the same place must always have the same name.
    absolute_uri = full_uri(found_uri).removeprefix("file://")
    return DataVersion(absolute_uri, found_span, fingerprint(open_source(absolute_uri)))
