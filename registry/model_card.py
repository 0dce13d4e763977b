"""The model card of a version, for people: the fields of "Model Cards for Model Reporting", arXiv:1810.03993.

Everything is from the provenance. What the provenance cannot know, such as the license, the card says it lacks.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from registry.provenance import EXTRA_FOLDER, GateRecord, Origin

MODEL_CARD_FILE = f"{EXTRA_FOLDER}/model_card.md"
"""Model card of a version; a path in the version's folder."""

_TEMPLATE = "model_card.md.jinja"
_CLASS_PREFIX = "class "
"""What the slices of a class in Evaluator's metrics start with."""
_SPECIAL = re.compile(r"[\\`*\[\]<>|&~]|\b_|_\b")


def render_model_card(model: str, version: int, published: datetime, rolled_back_to: int | None, origin: Origin) -> str:
    """Returns the model card of a version as Markdown, with the metadata that Hugging Face reads.

    Args:
        model: Name of the model.
        version: Number of the version.
        published: When the version was pushed.
        rolled_back_to: Number of the version that this one copies, if it is the result of a rollback.
        origin: Where the model comes from; what it lacks, the card lacks.
    """
    # Most commands do without it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701 (Markdown, which `finalize` escapes)
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        finalize=_escape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    gates = {record.gate: record for record in origin.gates}
    classes = gates["Evaluator"].metrics.get("recall", {}) if "Evaluator" in gates else {}
    return environment.get_template(_TEMPLATE).render(
        model=model,
        version=version,
        published=published,
        rolled_back_to=rolled_back_to,
        origin=origin,
        classes=[name.removeprefix(_CLASS_PREFIX) for name in classes],
        images=gates["DataGate"].metrics.get("examples", {}) if "DataGate" in gates else {},
        tables={record.gate: _table(record) for record in origin.gates if record.metrics},
        requirements=_requirements(origin.settings),
    )


def _table(record: GateRecord) -> tuple[Sequence[str], Sequence[Sequence[float | str]]]:
    """Returns header and rows of the metrics of a gate by slice; the fewer of both are the columns."""
    metrics = {metric: dict(values) for metric, values in record.metrics.items()}
    slices = list(dict.fromkeys(name for values in metrics.values() for name in values))
    if len(slices) < len(metrics):
        return ["metric", *slices], [
            [metric, *(values.get(name, "") for name in slices)] for metric, values in metrics.items()
        ]
    return ["slice", *metrics], [[name, *(values.get(name, "") for values in metrics.values())] for name in slices]


def _requirements(settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns the bounds of the gates by the name of their setting."""
    return {
        f"{section}.{name}": value
        for section, values in settings.items()
        for name, value in values.items()
        if section != "data" and name.startswith(("min_", "max_"))
    }


def _escape(value: Any) -> str:
    """Escapes a value for a line or a cell of Markdown."""
    text = f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
    return _SPECIAL.sub(r"\\\g<0>", text)
