from pathlib import Path

import pytest

from registry.atomic_files import replace_file


def test_a_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    for text in ("long text", "é"):
        replace_file(file, text)
        assert file.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [file]
    assert file.stat().st_mode & 0o044, "others may read it"


@pytest.mark.parametrize("function", ["os.fsync", "pathlib.Path.replace"])
def test_a_file_stays_as_it_was_if_it_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    file = tmp_path / "a.txt"
    file.write_text("before")

    def fail(*arguments: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(function, fail)
    with pytest.raises(OSError, match="no space left"):
        replace_file(file, "after")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]
