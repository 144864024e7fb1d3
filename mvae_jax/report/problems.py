"""What keeps a report from being complete: a line each, and everything else is written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from mvae_jax import terminal


class Problem(NamedTuple):
    """Something that keeps the report from being complete."""

    where: str
    reason: str


@contextmanager
def isolated(problems: list[Problem], where: str) -> Iterator[None]:
    """List what fails inside as a problem and go on behind it.

    One run's files may hold anything: nothing they do to a table, a figure or a page keeps another
    from being written.
    """
    try:
        yield
    except Exception as error:
        problems.append(Problem(where, reason_of(error)))


def reason_of(error: Exception) -> str:
    """Return an error on one line; those that are no message to a user, with their type."""
    reason = " ".join(str(error).split())
    named = isinstance(error, ValueError | OSError) and reason
    return reason if named else f"{type(error).__name__}: {reason}"


def tell(problems: Sequence[Problem]) -> bool:
    """Print what is missing; return whether nothing is."""
    for problem in problems:
        terminal.say(f"error: {problem.where}: {problem.reason}")
    return not problems
