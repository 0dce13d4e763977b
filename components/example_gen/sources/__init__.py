"""Reads labelled images from wherever fsspec reaches, in the formats that such data sets come in."""

from components.example_gen.sources.detection import open_source
from components.example_gen.sources.errors import DataError
from components.example_gen.sources.source import Record, Share, Source, fingerprint

__all__ = ["DataError", "Record", "Share", "Source", "fingerprint", "open_source"]
