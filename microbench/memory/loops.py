"""Loops over memory in LLVM's own language, written out as they shall run.

Whole cache lines, four in a turn, non-temporal stores where asked for. Only LLVM's code generator sees
the text and none of its passes, so that no loop becomes a call of memcpy or goes away; a barrier to the
compiler before every sweep says that memory may have changed. `microbench.memory.kernels` compiles it.

Each text defines @work(ptr job), one thread's share. A job is eight-byte words, in the order of SLOTS.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LINE = 64  # B, of a cache line
TURN = 4  # units (lines, or pieces) in one turn of a loop; work is cut into whole turns
SCALAR = 3.0  # STREAM's

SLOTS = {"a": "ptr", "b": "ptr", "c": "ptr", "result": "ptr", "begin": "i64", "end": "i64", "count": "i64"}
"""Up to three arrays; where a thread leaves what it found; the units from begin to end that are its
share; how many sweeps, or loads, one call makes."""

_VECTORS = {"float32": ("float", 16), "float64": ("double", 8)}
_WORDS = "<16 x i32>"  # a line, as `read` adds it up

_SWEEPS = """
{declared}
define void @work(ptr %job) #0 {{
entry:
{slots}
  br label %sweep
sweep:
  %done = phi i64 [ 0, %entry ], [ %done.next, %swept ]
  call void asm sideeffect "", "~{{memory}}"()
  br label %head
head:
  %i = phi i64 [ %begin, %sweep ], [ %i.next, %body ]
{carried}
  %more = icmp ult i64 %i, %end
  br i1 %more, label %body, label %swept
body:
{body}
  %i.next = add i64 %i, {turn}
  br label %head
swept:
{after}
  fence seq_cst
  %done.next = add i64 %done, 1
  %again = icmp ult i64 %done.next, %count
  br i1 %again, label %sweep, label %exit
exit:
  ret void
}}
!0 = !{{i32 1}}
"""

_CHASE = """
define void @work(ptr %job) #0 {{
entry:
{slots}
  %first = load i64, ptr %result
  br label %next
next:
  %at = phi i64 [ %first, %entry ], [ %found, %next ]
  %left = phi i64 [ %count, %entry ], [ %left.next, %next ]
  %place = getelementptr i8, ptr %a, i64 %at
  %found = load i64, ptr %place, align 8
  %left.next = sub i64 %left, 1
  %more = icmp ne i64 %left.next, 0
  br i1 %more, label %next, label %exit
exit:
  store i64 %found, ptr %result
  ret void
}}
"""


def stream(op: str, dtype: str, streaming: bool) -> str:
    """STREAM's loops from arrays b and c into a, units being lines. streaming: non-temporal stores."""
    element, lanes = _VECTORS[dtype]
    vector = f"<{lanes} x {element}>"
    scalar = f"<{', '.join([f'{element} {SCALAR}'] * lanes)}>"
    fused = f"@llvm.fmuladd.v{lanes}f{LINE // lanes * 8}"
    value = {
        "scale": f"fmul {vector} %b{{t}}, {scalar}",
        "add": f"fadd {vector} %b{{t}}, %c{{t}}",
        "triad": f"call {vector} {fused}({vector} {scalar}, {vector} %c{{t}}, {vector} %b{{t}})",
    }
    stored = {"copy": "%b{t}", "write": scalar}.get(op, "%value{t}")
    lines = [f"%{array}{{t}} = load {vector}, ptr %{array}.at{{t}}, align {LINE}" for array in _SOURCES[op]]
    lines += [f"%value{{t}} = {value[op]}"] if op in value else []
    lines += [f"store {vector} {stored}, ptr %a.at{{t}}, align {LINE}{_hint(streaming)}"]
    declared = f"declare {vector} {fused}({vector}, {vector}, {vector})"
    return _sweeps([*_places(("a", *_SOURCES[op])), *lines], declared=declared)


_SOURCES = {"copy": ("b",), "scale": ("b",), "add": ("b", "c"), "triad": ("b", "c"), "write": ()}


def read() -> str:
    """Array a, units being lines. Its 32-bit words are added up as integers, which is exact in any order;
    each sweep leaves its 16 sums."""
    lines = [
        f"%words{{t}} = load {_WORDS}, ptr %a.at{{t}}, align {LINE}",
        f"%sum{{t}}.next = add {_WORDS} %sum{{t}}, %words{{t}}",
    ]
    carried = [f"%sum{t} = phi {_WORDS} [ zeroinitializer, %sweep ], [ %sum{t}.next, %body ]" for t in range(TURN)]
    after = [f"%total{t} = add {_WORDS} %{'sum0' if t == 1 else f'total{t - 1}'}, %sum{t}" for t in range(1, TURN)]
    after += [f"store {_WORDS} %total{TURN - 1}, ptr %result, align 4"]
    return _sweeps([*_places(("a",)), *lines], carried, after)


def gather(piece: int, stride: int | None, streaming: bool) -> str:
    """Pieces of `piece` B out of array b, one after another into a, units being pieces: those `stride` B
    apart, or without a stride those that the 32-bit indices c name."""
    kind, align = f"<{piece // 4} x i32>", min(piece, LINE)
    named = [
        "%c.at{t} = getelementptr i32, ptr %c, i64 %n{t}",
        "%index{t} = load i32, ptr %c.at{t}, align 4",
        "%place{t} = zext i32 %index{t} to i64",
        f"%from{{t}} = mul i64 %place{{t}}, {piece}",
    ]
    return _sweeps([
        "%n{t} = add i64 %i, {t}",
        *(named if stride is None else [f"%from{{t}} = mul i64 %n{{t}}, {stride}"]),
        "%b.at{t} = getelementptr i8, ptr %b, i64 %from{t}",
        f"%piece{{t}} = load {kind}, ptr %b.at{{t}}, align {align}",
        f"%into{{t}} = mul i64 %n{{t}}, {piece}",
        "%a.at{t} = getelementptr i8, ptr %a, i64 %into{t}",
        f"store {kind} %piece{{t}}, ptr %a.at{{t}}, align {align}{_hint(streaming)}",
    ])  # fmt: skip


def chase() -> str:
    """`count` loads, each from the place that the one before it found, in B from the start of array a."""
    return _CHASE.format(slots=_slots())


def _places(arrays: Sequence[str]) -> list[str]:
    """Where line i + t of each array is."""
    addresses = [f"%{array}.at{{t}} = getelementptr i8, ptr %{array}, i64 %at{{t}}" for array in arrays]
    return ["%line{t} = add i64 %i, {t}", f"%at{{t}} = mul i64 %line{{t}}, {LINE}", *addresses]


def _sweeps(lines: Sequence[str], carried: Sequence[str] = (), after: Sequence[str] = (), declared: str = "") -> str:
    """`count` sweeps of a loop whose turn is `lines` for each t below TURN."""
    body = [line.format(t=t) for t in range(TURN) for line in lines]
    return _SWEEPS.format(
        declared=declared, slots=_slots(), carried=_indented(carried), body=_indented(body),
        after=_indented(after), turn=TURN,
    )  # fmt: skip


def _slots() -> str:
    """Every word of the job under its name."""
    return _indented(
        text
        for at, (name, kind) in enumerate(SLOTS.items())
        for text in (
            f"%{name}.slot = getelementptr i64, ptr %job, i64 {at}",
            f"%{name} = load {kind}, ptr %{name}.slot",
        )
    )


def _hint(streaming: bool) -> str:
    return ", !nontemporal !0" if streaming else ""


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)
