"""Readers of labeled images, one module per format, on any file system that fsspec supports."""
