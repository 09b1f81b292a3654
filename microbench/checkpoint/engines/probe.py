"""Engines that tell only when they are tried whether they run here: tried in a process of their own.

A library may end the process, or build an operator for a minute; the worker takes part in neither.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Literal

import msgspec

from harness.errors import Skip
from harness.records import Struct
from microbench.checkpoint.engines import TRIED

if TYPE_CHECKING:
    from harness.child import Place
    from harness.context import Context

LIMIT = 900.0  # s: an operator may be built on the way


class Asked(Struct, frozen=True):
    """device: that the state will lie on."""

    engine: str
    device: Literal["cpu", "cuda"]


class Answer(Struct, frozen=True):
    """refused: why the engine does not run here; nothing where it does. operator: of DeepSpeed's, that it needs."""

    refused: str = ""
    operator: str = ""


def ensure(ctx: Context, engine: str, device: Literal["cpu", "cuda"]) -> None:
    """The engine runs on that device, and what it needs is built. Skips with the engine's own reason."""
    from harness import children
    from microbench.storage import operators, room

    if engine not in TRIED:
        return
    work = children.Work(f"{__name__}:probe", Asked(engine, device))
    with room.opened(ctx, f"probe-{engine}") as folder:
        (ended,) = children.run(work, folder / "world", LIMIT, ctx.say, f"tries whether {engine} runs here")
    if not ended.ok:
        raise Skip(f"{engine} cannot be tried here: {ended.reason}")
    answer = msgspec.json.decode(ended.result, type=Answer)
    if answer.refused:
        raise Skip(answer.refused)
    if answer.operator:
        operators.ensure(ctx, answer.operator)


def probe(place: Place) -> Answer:
    """In the child."""
    asked = place.read(Asked)
    answer: Answer = importlib.import_module(f"microbench.checkpoint.engines.{asked.engine}").probe(asked.device)
    return answer
