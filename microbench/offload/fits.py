"""The largest model that fits, by stage and tier: by the formulas, and by trying.

Depth is what is sought; widths are those of the model named. Every trial is a fresh process that may have so much
memory and no more, builds the model with DeepSpeed and takes two steps. It fits, or memory runs out, which is told
apart from every other fault by its words, or by trying the same without the limit. The greatest depth that fits is
found by bisection from the formula's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness import models
from harness.errors import Skip
from harness.models.counts import parameters as count
from harness.models.zero import MOST_LAYERS, Plan, Tiers, deepest, largest, model_states, needed
from harness.records import Better, Evidence, Measurement, Origin, Params, Struct
from harness.registry import benchmark
from harness.units import Bytes, Unit, show_size
from microbench.offload.zero_asked import Asked, Tier
from microbench.offload.zero_config import set_aside
from microbench.storage import room

if TYPE_CHECKING:
    from harness.children import Ended
    from harness.context import Context
    from microbench.offload.zero_fit import Tried

SEQUENCE = 128  # tokens at most: what is sought is how states fit, not activations
LIMIT = 600.0  # s of one trial
GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": str(1 << 17), "MALLOC_TRIM_THRESHOLD_": str(1 << 17)}
"""The GNU library's allocator gives memory back as soon as it is freed (mallopt(3)), as one sets it who is short of it:
by default it raises both by itself, and holds more with every tensor that is freed."""
BUFFERS = "less the buffers that DeepSpeed is configured to have"
OF_TENSORS = "of the tensors: buffers that DeepSpeed is configured to have"
BY_FORMULA = "model states, the largest piece at work, activations with a checkpoint a layer; in the host's memory"


class FitsParams(Struct, frozen=True):
    """stage, optimizer, parameters: see `offload.training`. memory: B that one process may have beyond what the
    libraries take. model: its widths; most: layers that are tried at most."""

    memory: Bytes = 2**30
    stage: Annotated[int, msgspec.Meta(ge=0, le=3)] = 3
    optimizer: Tier = "none"
    parameters: Tier = "none"
    model: str = "tiny"
    most: Annotated[int, msgspec.Meta(ge=1, le=1 << 10)] = 32
    batch: Annotated[int, msgspec.Meta(ge=1, le=1 << 12)] = 1
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        if models.is_file(self.model):  # children start in another folder
            msgspec.structs.force_setattr(self, "model", str(Path(self.model).resolve()))
        models.load(self.model)

    @property
    def plan(self) -> Plan:
        return Plan(self.stage, 1, 1, self.optimizer, self.parameters, self.dtype)

    @property
    def sequence(self) -> int:
        return min(models.load(self.model).context, SEQUENCE)

    def deep(self, layers: int) -> models.Model:
        return msgspec.structs.replace(models.load(self.model), layers=layers)

    def asked(self, layers: int, folder: str = "", seed: int = 0) -> Asked:
        return Asked(
            self.stage, self.optimizer, self.parameters, self.deep(layers), self.sequence, self.batch, self.dtype,
            folder, 0, 0, seed,
        )  # fmt: skip


@benchmark("offload.fits", version=2, params=FitsParams, scope="host", rate="largest", needs=("deepspeed",), seconds=40)
def fits(ctx: Context, params: FitsParams) -> Sequence[Measurement]:
    """The largest model that can be trained in so much memory, found by trying, beside what the formulas say."""
    from microbench.storage.operators import ensure

    swaps = "nvme" in (params.optimizer, params.parameters)
    if ctx.meter.origin is Origin.MODELLED and not swaps:  # nothing to try on; formulas hold all the same
        return _formulas(params, Tiers(0.0, float(params.memory), 0.0))
    room.place(ctx)
    if ctx.device.type != "cpu":
        raise Skip("what is limited is a process's host memory, and the states of this device lie in its own")
    written = 1.5 * needed(params.deep(params.most), params.plan, params.sequence, params.batch).nvme
    disk = room.require(ctx, int(written))
    flags = [disk.words] if written else []
    if written:
        ensure(ctx, "async_io")
    within = Tiers(0.0, float(params.memory), float(disk.free))
    search = _Search(ctx, params)
    found = deepest(search.fits, _layers(params, within), params.most)
    if not found:
        raise Skip(f"not even one layer fits into {show_size(params.memory)}: {search.words[1]}")
    said = (
        f"largest of at most {params.most} layers" if found == params.most else f"out of memory: {search.next(found)}"
    )
    return [
        *_numbers(params, found, "search", ctx.meter.origin, (*flags, said, search.history)),
        *_formulas(params, within),
        *_overheads(params, found, search.tried[found], within),
        *_memory(found, search.tried[found], params, ctx.meter.origin),
    ]


def _overheads(params: FitsParams, found: int, tried: Tried, within: Tiers) -> list[Measurement]:
    """Layers that fit by the formula and all that was measured over it in the greatest model that fits: what is in
    tensors, but no configured buffer, grows with the parameters (gradients that stay in memory); the rest does not."""
    whole, aside = count(params.deep(found)), set_aside(params.asked(1))
    states = model_states(whole, params.plan).together(1).host
    grows = max(tried.parts["tensors"] - aside - states, 0.0) / whole
    fixed = max(tried.peak - _formula(params, found) - grows * whole, 0.0)

    def inside(layers: int) -> bool:
        return _formula(params, layers) + fixed + grows * count(params.deep(layers)) <= within.host

    flags = (BY_FORMULA, f"with what was measured over it: {show_size(int(fixed))}, and {grows:.2g} B a parameter")
    return _numbers(params, deepest(inside, found, MOST_LAYERS), "overheads", Origin.MODELLED, flags)


def _memory(found: int, tried: Tried, params: FitsParams, origin: Origin) -> list[Measurement]:
    """Of the largest model that fits: what it took at most and of what that is made, beside what the formula gives
    it."""
    from microbench.offload.zero_fit import PARTS

    beyond = "resident beyond what the process held before it built the model"
    formula = _formula(params, found)
    return [
        _of("peak", float(tried.peak), Unit.BYTE, origin, {}, (beyond,)),
        _of("peak", formula, Unit.BYTE, Origin.MODELLED, {"by": "formula"}, (BY_FORMULA,)),
        *(_of("part", float(tried.parts[part]), Unit.BYTE, origin, {"part": part}, (PARTS[part],)) for part in PARTS),
        _of("buffers", float(set_aside(params.asked(1))), Unit.BYTE, Origin.MODELLED, {}, (OF_TENSORS,)),
    ]


def _formula(params: FitsParams, layers: int) -> float:
    """B of host memory."""
    return needed(params.deep(layers), params.plan, params.sequence, params.batch).together(1).host


def _formulas(params: FitsParams, within: Tiers) -> list[Measurement]:
    """Layers that fit by the formula; and beside the buffers that DeepSpeed is told to have."""
    less = Tiers(0.0, max(within.host - set_aside(params.asked(1)), 0.0), within.nvme)
    return [
        *_numbers(params, _layers(params, within), "formula", Origin.MODELLED, (BY_FORMULA,)),
        *_numbers(params, _layers(params, less), "buffers", Origin.MODELLED, (BY_FORMULA, BUFFERS)),
    ]


def _layers(params: FitsParams, within: Tiers) -> int:
    return largest(params.deep(1), params.plan, within, params.sequence, params.batch, apart=False)


class _Search:
    """Trials, each a process; words: why layers do not fit; tried: those that do."""

    def __init__(self, ctx: Context, params: FitsParams) -> None:
        self._ctx, self._params = ctx, params
        self.words: dict[int, str] = {}
        self.tried: dict[int, Tried] = {}

    @property
    def history(self) -> str:
        tried = sorted([*self.words, *self.tried])
        return "layers tried: " + ", ".join(f"{n} {'fits' if n in self.tried else 'does not'}" for n in tried)

    def next(self, found: int) -> str:
        return self.words[found + 1]

    def fits(self, layers: int) -> bool:
        """Where a process ends for a reason that does not speak of memory, the same without the limit tells: it goes
        well, and memory was the reason; or it does not, and the reason is another one."""
        from microbench.offload.zero_fit import out_of_memory

        ended, tried = self._try(layers, self._params.memory)
        if tried is None and not out_of_memory(ended.log):
            free, whole = self._try(layers, 0)
            if whole is None:
                raise RuntimeError(f"{layers} layers, also without a limit of memory: {free.reason}")
            tried = whole if whole.refused else None
        if tried is not None and tried.refused:
            raise Skip(tried.refused)
        if tried is None or tried.words:
            self.words[layers] = tried.words if tried else f"{ended.reason} (and not without the limit)"
            return False
        self.tried[layers] = tried
        return True

    def _try(self, layers: int, memory: int) -> tuple[Ended, Tried | None]:
        """One trial in a fresh process, with so much memory; 0: without a limit. None where it did not answer."""
        from harness import children
        from microbench.offload.zero_fit import Trial, Tried

        params = self._params
        with room.opened(self._ctx, f"fits-{layers}-{memory}") as folder:
            asked = params.asked(layers, str(folder / "swap"), self._ctx.seed)
            threads = len(os.sched_getaffinity(0))
            work = children.Work(
                "microbench.offload.zero_fit:fit", Trial(asked, memory), threads=threads, environment=GIVEN_BACK
            )  # fmt: skip
            said = f"trying {layers} layers" + ("" if memory else " without a limit")
            [ended] = children.run(work, folder / "world", LIMIT, self._ctx.say, said)
        if ended.late:
            raise RuntimeError(f"{layers} layers: {ended.reason} of {LIMIT:.0f} s")
        return ended, msgspec.json.decode(ended.result, type=Tried) if ended.ok else None


def _numbers(params: FitsParams, layers: int, by: str, origin: Origin, flags: Sequence[str]) -> list[Measurement]:
    whole = count(params.deep(layers)) if layers else 0
    return [
        _of("largest", float(whole), Unit.COUNT, origin, {"by": by}, flags, Better.HIGHER),
        _of("layers", float(layers), Unit.COUNT, origin, {"by": by}, flags, Better.HIGHER),
    ]


def _of(
    metric: str, value: float, unit: Unit, origin: Origin, params: Params, flags: Sequence[str] = (),
    better: Better = Better.LOWER,
) -> Measurement:  # fmt: skip
    return Measurement(metric, unit, better, (value,), origin, None, (), Evidence(flags=tuple(flags)), params)
