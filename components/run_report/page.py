"""Renders pages that need no other file and no network, all in one style."""

import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from components.run_report.report import Interval
from components.verdict import format_number

FEW_CLASSES = 20
"""Up to this number, tables show all classes in their order; with more, those that matter most first."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def render_page(template: Path, **values: Any) -> str:
    """Returns a static HTML page without scripts, the same for the same values.

    Args:
        template: File of a Jinja template that extends `page.html.jinja`.
        values: Variables of the template.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "change": _change,
        "count": _count,
        "duration": _duration,
        "memory": _memory,
        "number": format_number,
        "percent": _percent,
        "percents": _percents,
        "points": _points,
        "setting": _setting,
    }
    return environment.get_template(template.name).render(few_classes=FEW_CLASSES, **values)


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}\xa0%"


def _percents(interval: Interval) -> str:
    return f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}"


def _points(difference: float) -> str:
    """Returns a difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def _change(interval: Interval) -> str:
    return f"{_points(interval[0])} to {_points(interval[1])}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}\xa0s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _memory(size: int) -> str:
    exponent = min(int(math.log2(size)) // 10, len(_UNITS) - 1) if size > 0 else 0
    return f"{size / 1024**exponent:.1f}\xa0{_UNITS[exponent]}"


def _setting(value: Any) -> str:
    if value is None:
        return "not set"
    return str(value).lower() if isinstance(value, bool) else str(value)
