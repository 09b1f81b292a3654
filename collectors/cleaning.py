"""What launchers and terminals put around a program's line, and how it comes off.

The prefix of a launcher also tells streams apart: two ranks whose lines are interleaved are read as two logs.
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_STAMP = (
    r"(?:\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?"  # ISO 8601: docker, kubectl
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?)(?!,)[ \t]"  # syslog, ts; with a comma it is a CSV's column
)
_LAUNCHERS = (
    r"\[(?P<mpi>\d+,\d+)\]<std(?:out|err|diag)>:\s?",  # mpirun --tag-output
    r"\[(?P<hydra>\d+)\] ",  # mpiexec -l, -prepend-rank
    r"(?P<srun>\d+): ",  # srun --label
    r"\[(?P<role>(?:rank|default|trainers?|worker|node|local_rank)[ _-]?\d+)\]:? ?",  # torchrun --tee, torchtitan
    r"\((?P<ray>[\w.]+ pid=\d+(?:, ip=[\d.]+)?)\) ",  # Ray
    r"(?P<pipe>[A-Za-z][\w.-]*-\d+) *\| ",  # docker compose
    r"(?P<host>[A-Za-z][\w-]*\d[\w.-]*): (?!\S+=)",  # pdsh, deepspeed: host name
)
_PREFIX = re.compile(rf"\s*(?:{_STAMP})?(?:{'|'.join(_LAUNCHERS)})?(?:{_STAMP})?")
_NAMES = ("mpi", "hydra", "srun", "role", "ray", "pipe", "host")
_LAYERS = 3  # a prefix may have another prefix before it: a container's log of srun's output


def plain(text: str) -> str:
    """Without escape sequences; other control characters stay, and are escaped where they are shown."""
    return _ESCAPE.sub("", text) if "\x1b" in text else text


def peeled(text: str) -> tuple[str, str]:
    """(stream, line): what the launcher put before the line, '' where nothing, and the line without it."""
    names: list[str] = []
    for _ in range(_LAYERS):
        found = _PREFIX.match(text)
        if found is None or not found[0].strip():
            break
        if found.lastgroup in _NAMES:
            names.append(f"{found.lastgroup} {found[found.lastgroup]}")
        text = text[found.end() :]
    return " ".join(names), text
