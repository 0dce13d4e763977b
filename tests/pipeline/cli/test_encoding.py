"""What the standard streams show in other encodings than UTF-8."""

import sys
from io import BytesIO, TextIOWrapper

import pytest

from pipeline.cli.encoding import show_text_in_any_encoding


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "✓ ✗ … │█ Ö 日 ".encode() + b"\xff"),
        ("iso-8859-1", b"+ x ... |# \xd6 \\u65e5 \xff"),
        ("ascii", b"+ x ... |# \\xd6 \\u65e5 \xff"),
    ],
)
def test_characters_that_the_encoding_lacks_are_replaced(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: bytes
) -> None:
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, encoding=encoding))
    show_text_in_any_encoding()
    # The last character is a byte of a file name that is not UTF-8.
    print("✓ ✗ … │█ Ö 日 \udcff", end="", flush=True)
    assert written.getvalue() == shown
