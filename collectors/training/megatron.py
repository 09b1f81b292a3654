"""Megatron-LM and what prints like it: Megatron-DeepSpeed and AMD's Primus.

An iteration is one line of `name: value` between bars (megatron/training/training.py: training_log). Primus prints
current and average as a pair, `5444.9/5501.2`. Most of a long log is such lines with the same names in the same
order, so the names are looked up once for each layout, and a line is cut at its bars.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from collectors import checks
from collectors.numbers import Number, number, value, whole
from collectors.parser import About, Kind, Reader, Sink
from collectors.training.megatron_layout import FIELDS, LINE, Layout, layout
from collectors.training.steps import Steps
from harness.records import Params, Scalar
from harness.units import Unit

ARGUMENT = re.compile(r"\s*(\w+) \.{2,} *(\S.*)")
PAIR = re.compile(r"([^/]+)/([^/]+)")
ARGUMENTS: dict[str, tuple[str, Callable[[str], Scalar]]] = {
    "world_size": ("ranks", whole),
    "tensor_model_parallel_size": ("tensor", whole),
    "pipeline_model_parallel_size": ("pipeline", whole),
    "context_parallel_size": ("context", whole),
    "expert_model_parallel_size": ("expert", whole),
    "data_parallel_size": ("data", whole),
    "micro_batch_size": ("micro_batch", whole),
    "seq_length": ("sequence", whole),
    "num_layers": ("layers", whole),
    "hidden_size": ("hidden", whole),
    "ffn_hidden_size": ("ffn", whole),
    "num_attention_heads": ("heads", whole),
    "padded_vocab_size": ("vocabulary", whole),
    "params_dtype": ("dtype", lambda text: text.removeprefix("torch.").replace("half", "float16")),
    "recompute_granularity": ("recompute", lambda text: None if text == "None" else text),
    "zero_stage": ("stage", whole),
}
KNOWN = (
    "-------- arguments", "-------- end of arguments", "validation loss at", "test loss at", "(min, max) time across",
    "> building", "> finished", "> initializ", "> compiling", "> setting", "> number of parameters",
)  # fmt: skip
TIMERS = re.compile(r"\s*[\w-]+(?: \.+)?: \([\d.]+, [\d.]+\)$")


class Megatron:
    """One stream's job. framework: what it is called where nothing in the log says otherwise."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        # the first rank prints the arguments and the last one the iterations
        self._params: Params = sink.shared.setdefault("params", {"framework": "megatron"})
        self._steps = Steps(sink, self._params)
        self._layouts: dict[str, tuple[str, float] | None] = {}
        self._consumed: tuple[int, int] | None = None
        self._layout: Layout | None = None

    def feed(self, text: str, line: int) -> bool:
        found = LINE.search(text)
        if found is not None:
            self._iteration(int(found[1]), text[found.end() :], line)
            return True
        argument = ARGUMENT.fullmatch(text)
        if argument is not None and not argument[2].startswith(("[OKAY]", "installed", "[NO]", "[YES]")):
            self._argument(argument[1], argument[2].strip())
            return True
        return any(known in text for known in KNOWN) or TIMERS.fullmatch(text) is not None

    def block(self, text: str, line: int) -> bool:
        """A block of iterations, all in the layout of its first line, all with finite numbers, in order. A block with
        anything else in it is read line by line, and so is one whose samples do not add up."""
        read = self._layout.read(text) if self._layout else None
        if read is None:
            self._layout = layout(text[: text.find("\n")])
            read = self._layout.read(text) if self._layout else None
        if read is None or not self._steps.follows(read.iterations):
            return False
        if read.consumed and (batch := read.columns.get("batch")):
            steps = read.iterations[-1] - read.iterations[0]
            if read.consumed[-1] - read.consumed[0] > steps * max(batch):
                return False
            self._consumed = read.iterations[-1], read.consumed[-1]
        self._steps.extend(read.iterations, read.columns, line)
        return True

    def close(self) -> None:
        self._steps.close()

    def _argument(self, name: str, said: str) -> None:
        if name not in ARGUMENTS:
            if name in ("deepspeed_config", "deepspeed") and said not in ("None", "False"):
                self._params["framework"] = "megatron-deepspeed"
            return
        key, read = ARGUMENTS[name]
        known = read(said)
        if known is None or self._params.get(key) == known:
            return
        self._steps.close()  # another job's arguments
        self._params[key] = known
        ranks = self._params.get("ranks")
        self._steps.about = About(ranks=ranks if isinstance(ranks, int) else None)

    def _iteration(self, at: int, rest: str, line: int) -> None:
        *parts, last = rest.split("|")  # what is after the last bar may have been cut off
        values: dict[str, float] = {}
        consumed = 0
        for part in parts:
            name, _, said = part.partition(": ")
            known = self._known(name)
            if known is not None:
                self._value(known, said, values)
            elif name == " consumed samples":
                consumed = whole(said) or 0
        if last.strip():
            self._sink.warn(line, f"the line ends within '{last.strip()[:40]}': what is before it is read")
        if "time" not in values and "loss" not in values:
            return
        self._steps.add(at, values, line)
        self._check(values, parts, consumed, at)

    def _known(self, name: str) -> tuple[str, float] | None:
        if name not in self._layouts and len(self._layouts) < 256:
            self._layouts[name] = FIELDS.get(name.strip())
        return self._layouts.get(name)

    def _value(self, known: tuple[str, float], said: str, values: dict[str, float]) -> None:
        name, scale = known
        try:
            held = float(said)
        except ValueError:
            self._other(name, scale, said, values)
            return
        if held - held == 0:  # neither nan nor infinite
            values[name] = held * scale if scale != 1e-3 else held / 1e3

    def _other(self, name: str, scale: float, said: str, values: dict[str, float]) -> None:
        """A pair of current and average, a share in per cent, a number with separators; else nothing."""
        pair = PAIR.fullmatch(said.strip())
        if pair is not None:
            self._params["framework"] = "primus"
        current, average = (pair[1], pair[2]) if pair else (said, "")
        for key, text in ((name, current), (f"{name}_average", average)):
            share = text.strip().endswith("%")
            known = value(text.strip().removesuffix("%"))
            if known is not None:
                values[key] = known * scale * (0.01 if share else 1.0)

    def _check(self, values: dict[str, float], parts: list[str], consumed: int, at: int) -> None:
        """Samples a second against batch and time; consumed samples against the iterations since the line before."""
        batch, time, rate = values.get("batch"), values.get("time"), values.get("samples_total")
        if batch and time and rate:
            claimed = self._printed(parts, "samples per second", 1.0)
            took = self._printed(parts, "elapsed time per iteration (ms)", 1e-3)
            if claimed and took:
                self._steps.contradict(
                    checks.quotient("samples/s", claimed, Unit.PER_SECOND, checks.exact(batch), took, "batch over time")
                )
        if consumed and batch:
            before, self._consumed = self._consumed, (at, consumed)
            if before and at > before[0] and consumed - before[1] > (at - before[0]) * batch > 0:
                self._steps.contradict(
                    f"the log claims {consumed - before[1]:,} samples since iteration {before[0]}, and "
                    f"{at - before[0]} steps of {batch:,.0f} give {(at - before[0]) * batch:,.0f}"
                )

    def _printed(self, parts: list[str], name: str, scale: float) -> Number | None:
        said = next((part.partition(": ")[2] for part in parts if part.strip().startswith(name)), "")
        known = number(said)
        return known.scaled(scale) if known else None


def reader(sink: Sink) -> Reader:
    return Megatron(sink)


KIND = Kind(
    "megatron", "Megatron-LM, Megatron-DeepSpeed, Primus: iterations and arguments",
    ("elapsed time per iteration", "------ arguments ------", "tensor_model_parallel_size ..", "| consumed samples"),
    reader,
)  # fmt: skip
