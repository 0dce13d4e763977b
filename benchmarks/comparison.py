"""Turns the figures of two pipelines, over several repetitions, into the rows of one table."""

import statistics
from collections.abc import Mapping, Sequence

NUM_TEST_IMAGES = 10_000
TOTAL = "whole process (s)"
REST = "imports and the rest (s)"
MEMORY = "peak memory (GiB)"
ACCURACY = "test accuracy (%)"
WRONG = f"wrong of {NUM_TEST_IMAGES:,} (images)"
SERVING_ACCURACY = "the same in TF Serving (%)"

_MISSING = "-"
# 99 % is not "1.04 times" 95 %; what can be divided is the wrong answers.
_NOT_DIVISIBLE = (ACCURACY, SERVING_ACCURACY)

Figures = Mapping[str, float]


def common_step_name(name: str) -> str:
    """Returns the name by which steps of both pipelines are compared.

    Their trainer is called Trainer.mnist; ImportExampleGen and MnistExampleGen are the ExampleGen of either.
    """
    return name.partition(".")[0].removeprefix("Import").removeprefix("Mnist")


def process_figures(step_seconds: Mapping[str, float], seconds: float, peak_bytes: int) -> dict[str, float]:
    """Names what a run cost.

    Args:
        step_seconds: Wall time per step, in seconds.
        seconds: Wall time of the whole process.
        peak_bytes: Peak memory of its process tree.

    Returns:
        The figures by name, the unit in parentheses: per step, the rest of the process, the whole, and memory.
    """
    steps = {f"{common_step_name(name)} (s)": value for name, value in step_seconds.items()}
    return {
        **steps,
        REST: seconds - sum(step_seconds.values()),
        TOTAL: seconds,
        MEMORY: peak_bytes / 2**30,
    }


def accuracy_figures(accuracy: float, serving_accuracy: float | None) -> dict[str, float]:
    """Names what the pushed model is worth.

    Args:
        accuracy: On the test images, 0 to 1.
        serving_accuracy: The same through the loader of TF Serving; None if it cannot run the model.

    Returns:
        The figures by name, the unit in parentheses.
    """
    served = {} if serving_accuracy is None else {SERVING_ACCURACY: 100 * serving_accuracy}
    return {ACCURACY: 100 * accuracy, **served, WRONG: float(round((1 - accuracy) * NUM_TEST_IMAGES))}


def medians(repetitions: Sequence[Figures]) -> dict[str, float]:
    """Returns the median of each figure over the repetitions that have it, in the order of first mention."""
    names = dict.fromkeys(name for figures in repetitions for name in figures)
    return {name: statistics.median(figures[name] for figures in repetitions if name in figures) for name in names}


def table_rows(example: Figures, ours: Figures) -> list[tuple[str, str, str, str]]:
    """Lines up the figures of TFX's example and ours.

    Returns:
        A row per figure, in the order of ours: its name, the example's value, ours, and how many times ours goes into
        the example's: above 1 ours is quicker, smaller or less often wrong. A dash stands for what there is not.
    """
    return [
        (name, _text(name, example.get(name)), _text(name, ours.get(name)), _ratio(name, example, ours))
        for name in dict.fromkeys([*ours, *example])
    ]


def _text(name: str, value: float | None) -> str:
    if value is None:
        return _MISSING
    decimals = {"s": 1, "images": 0}.get(name.rpartition("(")[2].rstrip(")"), 2)
    return f"{value:,.{decimals}f}"


def _ratio(name: str, example: Figures, ours: Figures) -> str:
    if name in _NOT_DIVISIBLE or name not in example or not ours.get(name):
        return _MISSING
    return f"{example[name] / ours[name]:.2f}"
