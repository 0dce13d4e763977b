"""Says of an answer whether it came from a version that it may have come from."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.serving.clients import Exchange
from benchmarks.serving.messages import Answer, decode
from benchmarks.serving.versions import digit_shift

FAILED = "failed"
WRONG = "wrong"


@dataclass(frozen=True)
class Swap:
    """When a version became the newest: somewhere between the two times, in seconds of `time.perf_counter`.

    Attributes:
        number: Of the version.
        pushed: When it was not yet to be seen.
        served: When it answered and its predecessor was gone.
    """

    number: int
    pushed: float
    served: float


@dataclass(frozen=True)
class Problem:
    """What is wrong with an exchange.

    Attributes:
        kind: `FAILED` for a request that was not answered, `WRONG` for one answered by a wrong version.
        text: Which, and what was expected.
    """

    kind: str
    text: str


class SwapLog:
    """All swaps of a run, in their order."""

    def __init__(self, swaps: Iterable[Swap]) -> None:
        self._swaps = tuple(swaps)

    @classmethod
    def of_one_version(cls, number: int) -> "SwapLog":
        """Makes the log of a run in which one version was served all the time."""
        return cls([Swap(number, -math.inf, -math.inf)])

    def possible_versions(self, sent: float, answered: float) -> list[int]:
        """Says which versions may answer a request: those that may have been the newest while it was under way."""
        ends = [swap.served for swap in self._swaps[1:]] + [math.inf]
        return [
            swap.number for swap, end in zip(self._swaps, ends, strict=True) if swap.pushed <= answered and sent <= end
        ]

    def problem(self, exchange: Exchange) -> Problem | None:
        """Says what is wrong with an exchange; None if nothing is."""
        name = f"{exchange.request.api} {exchange.request.signature}"
        if exchange.reply.error:
            return Problem(FAILED, f"{name}: {exchange.reply.error[:300]}")
        try:
            answer = decode(exchange.request.api, exchange.reply.content)
        except ValueError as error:
            return Problem(WRONG, f"{name}: {error}")
        possible = self.possible_versions(exchange.sent, exchange.answered)
        if any(_fits(answer, exchange, number) for number in possible):
            return None
        found = f"digits {answer.digits.tolist()} of version {answer.version or '?'}"
        original = exchange.request.expected.digits.tolist()
        return Problem(WRONG, f"{name}: {found}; of version {possible} expected, and by the original model {original}")


def find_problems(log: SwapLog, exchanges: Sequence[Exchange]) -> list[Problem]:
    """Judges all exchanges of a run.

    Args:
        log: What was pushed meanwhile.
        exchanges: Of any number of clients, those of each in their order.

    Returns:
        What is wrong with single ones, and where a client that had seen a version was answered by an older one.
    """
    problems = [problem for each in exchanges if (problem := log.problem(each))]
    by_client = itertools.groupby(exchanges, key=lambda each: each.client)
    return problems + [problem for _, of_client in by_client for problem in _steps_back(of_client)]


def count_kinds(problems: Iterable[Problem]) -> Counter[str]:
    """Counts problems by kind."""
    return Counter(problem.kind for problem in problems)


def _fits(answer: Answer, exchange: Exchange, number: int) -> bool:
    return answer.version in (None, number) and answer.is_right(exchange.request.expected, digit_shift(number))


def _steps_back(exchanges: Iterable[Exchange]) -> Iterable[Problem]:
    newest = 0
    for each in exchanges:
        version = _version(each) or newest
        if version < newest:
            yield Problem(WRONG, f"client {each.client}: version {version} after it had been answered by {newest}")
        newest = max(newest, version)


def _version(exchange: Exchange) -> int | None:
    try:
        return decode(exchange.request.api, exchange.reply.content).version
    except ValueError:
        # That it is no answer has been said.
        return None
