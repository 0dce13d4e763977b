import shutil
from pathlib import Path

import pytest
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from components.serving_check.contract import SIGNATURES
from components.serving_check.export import ExportError, read_export
from registry.signatures import TensorForm


def test_it_says_what_an_export_has(good_export: Path) -> None:
    export = read_export(str(good_export))
    assert {name: export.signatures[name] for name in SIGNATURES} == SIGNATURES
    # One of the graph itself, one of a function.
    assert {"Placeholder", "MatMul"} <= export.ops
    assert not any(name.startswith("__inference") for name in export.ops)


def test_a_tensor_of_unknown_rank(good_export: Path, tmp_path: Path) -> None:
    model = shutil.copytree(good_export, tmp_path / "model")
    saved_model = SavedModel.FromString((model / "saved_model.pb").read_bytes())
    saved_model.meta_graphs[0].signature_def["pixels"].outputs["digit"].tensor_shape.Clear()
    saved_model.meta_graphs[0].signature_def["pixels"].outputs["digit"].tensor_shape.unknown_rank = True
    (model / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    assert read_export(str(model)).signatures["pixels"].outputs["digit"] == TensorForm("int64", None)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"there is no {tmp_path}/saved_model.pb"):
        read_export(str(tmp_path))


def test_a_damaged_model(good_export: Path, tmp_path: Path) -> None:
    content = (good_export / "saved_model.pb").read_bytes()
    (tmp_path / "saved_model.pb").write_bytes(content[: len(content) // 2])
    with pytest.raises(ExportError, match=f"{tmp_path}/saved_model.pb is damaged"):
        read_export(str(tmp_path))


def test_a_model_for_training_only(tmp_path: Path) -> None:
    saved_model = SavedModel()
    saved_model.meta_graphs.add().meta_info_def.tags.append("train")
    (tmp_path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    with pytest.raises(ExportError, match=r"/saved_model.pb has no graph tagged \['serve'\], only \[\['train'\]\]"):
        read_export(str(tmp_path))
