from pathlib import Path

from pipeline.versions import list_versions


def test_complete_versions_are_listed_by_number(tmp_path: Path) -> None:
    for name in ("10", "9", "100"):
        (tmp_path / name / "variables").mkdir(parents=True)
        (tmp_path / name / "variables" / "data").write_bytes(b"12345")
        (tmp_path / name / "saved_model.pb").write_bytes(b"678")
    (tmp_path / "11").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "saved_model.pb").write_bytes(b"")
    versions = list_versions(tmp_path)
    assert [(version.number, version.num_bytes) for version in versions] == [(9, 8), (10, 8), (100, 8)]
    assert versions[0].directory == tmp_path / "9"


def test_nothing_pushed_yet(tmp_path: Path) -> None:
    assert list_versions(tmp_path / "serving" / "digits") == []
