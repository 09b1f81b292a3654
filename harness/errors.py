"""The errors a user may meet, each with the exit code the command line gives it.

A message names the input, what is accepted, and the next step. Anything that is not one of these
is a fault of the program itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Base of every error that is meant for the user."""

    exit_code = 3


class UsageError(BenchError):
    """Wrong use or wrong input: nothing was measured."""

    exit_code = 2


class CannotRun(BenchError):
    """The request was right, but it could not be carried out here."""

    exit_code = 3


class Skip(Exception):
    """Raised by a benchmark: this cell cannot be measured here, and why. A result, not a fault."""


class WrongAnswer(Exception):
    """Raised by a benchmark: the operation gave a wrong result, so it gets no number."""


CONSEQUENCES = ("SIGTERM", "Connection closed", "Connection reset", "connection refused")


def cause(said: Iterable[str]) -> str:
    """Why the first of several ranks failed: the others then lose their connection to it, or are told to end. ''
    where none says a word."""
    return min(filter(None, said), key=lambda text: any(word in text for word in CONSEQUENCES), default="")


def unknown(kind: str, name: str, known: Iterable[str], hint: str) -> UsageError:
    """The error for a name that does not exist: says the near matches and where the names are listed."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    matches = f" Near: {', '.join(near)}." if near else ""
    return UsageError(f"unknown {kind} '{name}'.{matches} {hint}")
