"""Finds the newest data of a series, so that a pipeline that runs every night takes what came in last.

Source of the pattern: span patterns of TFX's ExampleGen, https://www.tensorflow.org/tfx/guide/examplegen#span.
"""

import re

from components.example_gen.sources.errors import DataError, listed
from components.example_gen.sources.storage import exists, is_folder, list_folder

_PLACEHOLDER = re.compile(r"\{SPAN(?::([1-9][0-9]*))?\}")


def resolve_span(uri: str, span: int | None) -> tuple[str, int]:
    """Puts the number of a span into a URI.

    Args:
        uri: Path or URI. In it may be one `{SPAN}`, which stands for a number, or `{SPAN:5}`, for a number that is
            padded with zeros to five digits; a file or folder of that name has to be there, and what follows it.
        span: Number of the span, or None for the newest: that of the largest number.

    Returns:
        The URI of the span and its number, which is 0 for a URI without a pattern.

    Raises:
        DataError: There is no such span, or none at all; the pattern is not one; or a span is asked for without one.
    """
    match = _PLACEHOLDER.search(uri)
    if uri.count("{SPAN") > 1 or ("{SPAN" in uri and not match):
        found = f"{uri.count('{SPAN')} placeholders" if match else "a malformed placeholder"
        raise DataError(uri, found, "one {SPAN} or {SPAN:5}", "correct the pattern")
    if not match:
        if span:
            raise DataError(uri, f"span {span} asked for", "{SPAN} in the path", "add it, or ask for no span")
        return uri, 0
    spans = _find_spans(uri, match)
    if not spans:
        raise DataError(uri, "no span", "a file or folder that the pattern matches", "add one, or correct the pattern")
    newest = max(spans) if span is None else span
    if newest not in spans:
        known = ", ".join(str(number) for number in sorted(spans))
        raise DataError(uri, f"no span {span}", f"one of the spans that are there ({known})", "ask for one of them")
    return spans[newest], newest


def _find_spans(uri: str, match: re.Match[str]) -> dict[int, str]:
    start = uri.rfind("/", 0, match.start()) + 1
    end = (uri.find("/", match.end()) + 1 or len(uri) + 1) - 1
    parent, rest = uri[:start] or ".", uri[end:]
    digits = f"[0-9]{{{match[1]}}}" if match[1] else "[0-9]+"
    name = re.compile(f"{re.escape(uri[start : match.start()])}({digits}){re.escape(uri[match.end() : end])}")
    spans: dict[int, str] = {}
    for entry in list_folder(parent) if is_folder(parent) else []:
        found = name.fullmatch(entry.name)
        if found and (not rest.strip("/") or exists(f"{uri[:start]}{entry.name}{rest}")):
            if (number := int(found[1])) in spans:
                names = [spans[number].rpartition("/")[2], entry.name]
                raise DataError(uri, f"span {number} twice ({listed(names)})", "one of each number", "remove one")
            spans[number] = f"{uri[:start]}{entry.name}{rest}"
    return spans
