"""What may be the name of an image.

The grammar is that of https://pkg.go.dev/github.com/distribution/reference, which Kubernetes, too, reads names with.
"""

import re

_HOST_PART = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_HOST = re.compile(rf"(?:{_HOST_PART}(?:\.{_HOST_PART})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?")
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PATH_PART}(?:/{_PATH_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_MAX_NAME_LENGTH = 255


def check_image_reference(reference: str) -> str:
    """Checks `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`.

    Args:
        reference: The name of an image.

    Returns:
        The same.

    Raises:
        ValueError: It is no such name; the message says which rule it breaks.
    """
    name, at, digest = reference.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError("expected after @ a digest, such as sha256: and 64 hexadecimal digits")
    host, path = _split_host(name)
    if host and not _HOST.fullmatch(host):
        raise ValueError("expected before the first / the host of a registry, such as registry.example.com:5000")
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise ValueError("expected as tag up to 128 letters, digits, _, . and -, of which . and - do not come first")
    if path != path.lower():
        raise ValueError("expected a repository in lower case")
    if not _PATH.fullmatch(path):
        raise ValueError("expected HOST/REPOSITORY:TAG, the repository of a-z, 0-9 and single . _ - and / in between")
    if len(host) + len(path) >= _MAX_NAME_LENGTH:
        raise ValueError(f"expected at most {_MAX_NAME_LENGTH} characters before the tag")
    return reference


def _split_host(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_host = slash and (first == "localhost" or "." in first or ":" in first)
    return (first, rest) if is_host else ("", name)
