import json
from typing import Any

import pytest

from pipeline.kubeflow.step.failure import KubeflowStepError
from pipeline.kubeflow.step.overrides import apply_overrides

BOUNDS = {
    "accuracy": {"metric": "accuracy", "lower": 0.9},
    "log_loss": {"metric": "log_loss", "upper": 0.5, "max_worsening": None},
}
PROPERTIES = {
    "uri": "data/mnist.npz",
    "span": 0,
    "bounds": json.dumps(BOUNDS),
    "custom_config": json.dumps({"hyperparameters": {"epochs": 3}, "seed": 1}),
}
TYPES = {"epochs": "NUMBER_INTEGER", "data_span": "NUMBER_INTEGER", "min_accuracy": "NUMBER_DOUBLE"}


def applied(overrides: list[str], **run_parameters: Any) -> dict[str, Any]:
    return apply_overrides({**PROPERTIES, **run_parameters}, overrides, TYPES)


def test_a_parameter_of_the_run_takes_the_place_of_a_property() -> None:
    changed = applied(["uri=data_uri", "span=data_span"], data_uri="s3://bucket/data", data_span=7.0)
    assert changed == {**PROPERTIES, "uri": "s3://bucket/data", "span": 7}
    assert isinstance(changed["span"], int)


def test_a_parameter_may_be_called_like_its_property() -> None:
    assert applied(["uri=uri"]) == PROPERTIES


def test_values_inside_a_json_text_are_replaced() -> None:
    overrides = [
        "custom_config.hyperparameters.epochs=epochs",
        "bounds.accuracy.lower=min_accuracy",
        "bounds.log_loss.upper=loss",
    ]
    changed = applied(overrides, epochs=5.0, min_accuracy=1.0, loss=0.25)
    assert json.loads(changed["custom_config"]) == {"hyperparameters": {"epochs": 5}, "seed": 1}
    assert '"epochs": 5}' in changed["custom_config"], "a whole number has no fraction, which would be refused"
    assert json.loads(changed["bounds"]) == {
        "accuracy": {**BOUNDS["accuracy"], "lower": 1.0},
        "log_loss": {**BOUNDS["log_loss"], "upper": 0.25},
    }
    assert set(changed) == set(PROPERTIES)


def test_what_no_override_names_stays() -> None:
    assert applied([], data_uri="unused") == {**PROPERTIES, "data_uri": "unused"}


@pytest.mark.parametrize("override", ["uri=data_url", "uri", "=data_uri", ""])
def test_an_override_without_its_parameter_is_refused(override: str) -> None:
    with pytest.raises(
        KubeflowStepError,
        match=f"^--override={override}: expected PROPERTY=PARAMETER with a parameter of this step "
        r"\(bounds, custom_config, data_uri, span, uri\); compile the pipeline again\.$",
    ):
        applied([override], data_uri="x")


@pytest.mark.parametrize(
    "target",
    [
        "bounds.recall.lower",
        "bounds.lower",
        "bounds.accuracy.upper",
        "bounds.accuracy.lower.x",
        "uri.key",
        "span.key",
        "absent.key",
    ],
)
def test_an_override_of_what_is_not_there_is_refused(target: str) -> None:
    name = target.partition(".")[0]
    with pytest.raises(
        KubeflowStepError,
        match=f"^--override={target}=value: there is no such value in the execution property '{name}'; compile the",
    ):
        applied([f"{target}=value"], value=1)


@pytest.mark.parametrize("value", [2.5, "3", True])
def test_a_fraction_is_no_whole_number(value: Any) -> None:
    with pytest.raises(
        KubeflowStepError, match=f"^parameter epochs: expected a whole number, not {value!r}; start the"
    ):
        applied(["custom_config.hyperparameters.epochs=epochs"], epochs=value)
