"""Lets the standard streams show any text in any locale: marks as ASCII, other characters as escapes."""

import codecs
import sys
from io import TextIOWrapper

_ERRORS = "digits.ascii_marks"
_MARKS = {
    **{"✓": "+", "✗": "x", "…": "...", "–": "-", "—": "-", "×": "x", "→": "->", "≥": ">=", "≤": "<=", "°": " deg"},
    **{"─": "-", "━": "-", "═": "=", "│": "|", "░": ".", "▒": ":", "▓": "+", "█": "#"},
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯", "+"),
    # The spinner of rich.
    **dict.fromkeys("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "*"),
}


def show_text_in_any_encoding() -> None:
    """Keeps standard output and standard error from failing on characters that their encoding lacks."""
    codecs.register_error(_ERRORS, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    # A stream may also be read back, such as the file in which pytest captures output.
    if not isinstance(error, UnicodeEncodeError):
        return codecs.replace_errors(error)
    character = error.object[error.start]
    # A byte of a file name that cannot be decoded.
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]), error.start + 1
    escaped = character.encode("ascii", "backslashreplace").decode()
    return _MARKS.get(character, escaped), error.start + 1
