from tfx.types.standard_artifacts import Model

from components.original_uri import ORIGINAL_URI_KEY, original_uri


def test_an_artifact_that_is_no_copy_is_where_it_is() -> None:
    model = Model()
    model.uri = "/pipeline_root/Trainer/model/1"
    assert original_uri(model) == "/pipeline_root/Trainer/model/1"


def test_a_copy_names_what_it_is_a_copy_of() -> None:
    model = Model()
    model.uri = "/minio/Trainer/model/1"
    model.set_string_custom_property(ORIGINAL_URI_KEY, "minio://bucket/Trainer/model/1")
    assert original_uri(model) == "minio://bucket/Trainer/model/1"
