import gzip
import io
from pathlib import Path

import pytest

from components.example_gen.sources import DataError
from components.example_gen.sources.streams import decompressed, read_exactly


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_plain_and_gzipped_files_read_the_same(tmp_path: Path, pack: type[bytes]) -> None:
    (tmp_path / "a").write_bytes(pack(b"0123456789"))
    with decompressed(str(tmp_path / "a")) as stream:
        stream.seek(3)
        assert read_exactly(stream, 4, "a") == b"3456"


def test_gzip_in_several_parts(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(b"01") + gzip.compress(b"23"))
    with decompressed(str(tmp_path / "a")) as stream:
        assert stream.read() == b"0123"


def test_names_what_is_missing() -> None:
    with pytest.raises(
        DataError, match="^a: found 3 bytes where 4 should follow, expected a complete file; it is cut short"
    ):
        read_exactly(io.BytesIO(b"012"), 4, "a")
