"""Which files arguments mean."""

from pathlib import Path

import pytest

from serving.client.inputs import Inputs, NoInputError, find_inputs


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b.JPG", "a.png", "deep/er/c.webp", "deep/examples.tfrecord-00000", "deep/more-of-2.gz"):
        Path("drawings", name).parent.mkdir(parents=True, exist_ok=True)
        Path("drawings", name).touch()
    for name in ("notes.txt", ".hidden.png", "deep/.git/d.png"):
        Path("drawings", name).parent.mkdir(parents=True, exist_ok=True)
        Path("drawings", name).touch()
    return tmp_path


def test_a_folder_is_searched_in_order() -> None:
    assert find_inputs(["drawings"]) == Inputs(
        images=("drawings/a.png", "drawings/b.JPG", "drawings/deep/er/c.webp"),
        record_files=("drawings/deep/examples.tfrecord-00000", "drawings/deep/more-of-2.gz"),
    )


def test_named_files_are_taken_whatever_they_are_called_once_and_in_their_order() -> None:
    names = ["drawings/notes.txt", "-", "drawings/a.png", "drawings/.hidden.png", "-"]
    assert find_inputs(names) == Inputs(tuple(names[:4]), ())


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(NoInputError, match=r"^none\.png: no such file or folder\.$"):
        find_inputs(["drawings", "none.png"])
    Path("empty").mkdir()
    with pytest.raises(
        NoInputError, match=r"^empty: no image \(\.bmp, .*\) and no TFRecord \(\*\.tfrecord\*, \*\.gz\)"
    ):
        find_inputs(["empty"])
    with pytest.raises(NoInputError, match=r"^/dev/null: neither a file nor a folder\.$"):
        find_inputs(["/dev/null"])
