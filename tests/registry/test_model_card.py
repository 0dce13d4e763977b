from datetime import UTC, datetime
from typing import Any

from registry.model_card import render_model_card
from registry.provenance import DataOrigin, GateRecord, Ingredients, Origin, Software

SECTIONS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]
ORIGIN = Origin(
    pipeline_run="2026-11-28T01:07:48",
    ingredients=Ingredients(data=DataOrigin(uri="s3://bucket/mnist.npz", span=4, fingerprint="af00f6"), code={}),
    settings={
        "trainer": {"epochs": 7, "learning_rate": 0.01},
        "evaluation": {"enforced": True, "min_accuracy": 0.99},
        "data": {"max_images": None},
    },
    software=Software(version="0.1.0", revision="8b5cd5c", python="3.11.7", packages={"tensorflow": "2.21.0"}),
    gates=(
        GateRecord(gate="DataGate", passed=True, metrics={"examples": {"train": 55000.0, "test": 10000.0}}),
        GateRecord(
            gate="Evaluator",
            passed=True,
            accepted=("class 3: upside down",),
            metrics={"accuracy": {"all": 0.9966}, "recall": {"class cat": 0.99897959, "class a|b": 1.0}},
        ),
        GateRecord(gate="RobustnessEvaluator", passed=True, enforced=False, metrics={"accuracy": {"fog": 0.98}}),
    ),
)


def card(origin: Origin, **fields: Any) -> list[str]:
    arguments: dict[str, Any] = {
        "model": "digits",
        "version": 1795828339,
        "published": datetime(2026, 11, 28, 1, 12, tzinfo=UTC),
        "rolled_back_to": None,
        **fields,
    }
    return render_model_card(**arguments, origin=origin).splitlines()


def sections(lines: list[str]) -> list[str]:
    return [line.removeprefix("## ") for line in lines if line.startswith("## ")]


def test_the_card_has_the_published_fields() -> None:
    lines = card(ORIGIN)
    assert lines[0] == "---"
    assert "pipeline_tag: image-classification" in lines[: lines.index("---", 1)]
    assert "# digits, version 1795828339" in lines
    assert sections(lines) == SECTIONS


def test_the_fields_are_those_of_the_provenance() -> None:
    lines = card(ORIGIN)
    for line in (
        "- Published: 2026-11-28 01:12 UTC",
        "- Pipeline run: 2026-11-28T01:07:48",
        "- Code: digit-classifier 0.1.0, Git revision 8b5cd5c",
        "- Software: Python 3.11.7, tensorflow 2.21.0",
        "| epochs | 7 |",
        "| learning_rate | 0.01 |",
        "| evaluation.min_accuracy | 0.99 |",
        "- Switched off: RobustnessEvaluator, so its bounds did not count",
        "- Accepted by a person: Evaluator, class 3: upside down",
        "- 10000 images of the test split, which training never sees",
        "- Source: s3://bucket/mnist.npz, span 4",
        "- Fingerprint: af00f6",
        "- Images: 55000 in train, 10000 in test",
    ):
        assert line in lines
    assert any(line.endswith("the training data: cat, a\\|b") for line in lines)
    assert not any("max_images" in line or "| enforced" in line for line in lines)


def test_metrics_are_tables_by_slice() -> None:
    lines = card(ORIGIN)
    evaluator = lines.index("### Evaluator")
    assert lines[evaluator + 2 : evaluator + 8] == [
        "| slice | accuracy | recall |",
        "|---|---|---|",
        "| all | 0.9966 |  |",
        "| class cat |  | 0.99898 |",
        "| class a\\|b |  | 1 |",
        "",
    ]


def test_a_card_without_provenance_says_what_it_lacks() -> None:
    lines = card(Origin(), rolled_back_to=1795741201)
    assert sections(lines) == SECTIONS
    assert "- Copy of version 1795741201, after a rollback" in lines
    assert "- Source: not recorded" in lines
    assert "Not recorded." in lines
    assert not any(line.startswith("|") for line in lines)


def test_text_of_users_is_not_markup() -> None:
    data = DataOrigin(uri="https://x/<script>[a](b)`c`\n## Fake", span=0, fingerprint="f")
    lines = card(ORIGIN.model_copy(update={"ingredients": Ingredients(data=data, code={})}))
    assert "- Source: https://x/\\<script\\>\\[a\\](b)\\`c\\` ## Fake" in lines
    assert sections(lines) == SECTIONS
