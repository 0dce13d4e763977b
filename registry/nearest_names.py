"""What to propose in place of a name that does not exist."""

from collections.abc import Collection
from difflib import get_close_matches

_MAX_NAMES = 3


def nearest_names(name: str, known: Collection[str]) -> str:
    """Returns a clause with the names that exist; of many, the nearest first, and how many others there are.

    Args:
        name: The name that does not exist, or that fits several.
        known: The names that exist, each once; at least one.

    Returns:
        Such as `there are 17, 18` or `the nearest are 17, 18, 19; 40 others exist`.
    """
    nearest = get_close_matches(name, known, n=_MAX_NAMES, cutoff=0)
    listed, others = ", ".join(nearest), len(known) - len(nearest)
    if others:
        return f"the nearest are {listed}; {others} other{' exists' if others == 1 else 's exist'}"
    return f"there {'is only' if len(nearest) == 1 else 'are'} {listed}"
