"""Machine code for loops over memory, made by LLVM through llvmlite for the processor at hand.

Threads meet in the compiled code too: one leads, the others serve. A sweep over a first-level cache
takes less time than waking a thread does.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import llvmlite.binding as llvm

DONE, STOP = 16, 32
"""Words of a crew's state, each in cache lines of its own: threads that have done the step, and whether
to give up. Word 0 counts the steps begun."""
STATE = 48

HALVED = ("znver4",)
"""Processors that store 64 bytes as two halves, so that 32 bytes at a time serve better: a triad in the
first-level cache of a Zen 4 runs at 650 GB/s on two cores with them, at 540 GB/s with 64."""

_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}
"""What tells a processor that a thread only waits."""

_CREW = """
{declared}
define void @lead(ptr %state, i64 %others, ptr %job) {{
  %done = getelementptr i64, ptr %state, i64 {done}
  store atomic i64 0, ptr %done monotonic, align 8
  %before = atomicrmw add ptr %state, i64 1 release
  call void @work(ptr %job)
  br label %wait
wait:
  %now = load atomic i64, ptr %done acquire, align 8
  %all = icmp uge i64 %now, %others
  br i1 %all, label %exit, label %pause
pause:
  {pause}
  br label %wait
exit:
  ret void
}}
define void @serve(ptr %state, i64 %first, i64 %steps, ptr %job) {{
entry:
  %done = getelementptr i64, ptr %state, i64 {done}
  %stop = getelementptr i64, ptr %state, i64 {stop}
  %last = add i64 %first, %steps
  br label %next
next:
  %at = phi i64 [ %first, %entry ], [ %at.next, %begun ]
  %left = icmp ult i64 %at, %last
  br i1 %left, label %wait, label %exit
wait:
  %now = load atomic i64, ptr %state acquire, align 8
  %go = icmp ugt i64 %now, %at
  br i1 %go, label %begun, label %pause
pause:
  {pause}
  %told = load atomic i64, ptr %stop monotonic, align 8
  %out = icmp ne i64 %told, 0
  br i1 %out, label %exit, label %wait
begun:
  call void @work(ptr %job)
  %before = atomicrmw add ptr %done, i64 1 release
  %at.next = add i64 %at, 1
  br label %next
exit:
  ret void
}}
attributes #0 = {{ {attributes} }}
"""


@dataclass(frozen=True)
class Kernel:
    """lead(state, others, job): begin a step, do this thread's share, wait for the `others`. serve(state,
    first, steps, job): a share of each of `steps` steps from number `first`. While one of them runs, so
    may the rest of Python. made: by what and for what, in words."""

    lead: Callable[[Any, int, Any], None]
    serve: Callable[[Any, int, int, Any], None]
    made: str
    engine: Any = field(repr=False)  # owns the code


@lru_cache
def machine_code(text: str) -> Kernel:
    """A loop (microbench.memory.loops) as functions of this process."""
    import llvmlite.binding as llvm

    machine = _machine()
    engine = llvm.create_mcjit_compiler(_module(text), machine)
    engine.finalize_object()
    word, place = ctypes.c_int64, ctypes.c_void_p
    lead = ctypes.CFUNCTYPE(None, place, word, place)(engine.get_function_address("lead"))
    serve = ctypes.CFUNCTYPE(None, place, word, word, place)(engine.get_function_address("serve"))
    version = ".".join(map(str, llvm.llvm_version_info))
    return Kernel(lead, serve, f"compiled by LLVM {version} for {llvm.get_host_cpu_name()}", engine)


def assembly(text: str) -> str:
    """What a loop becomes on this processor, to be looked at."""
    said: str = _machine().emit_assembly(_module(text))
    return said


def _machine() -> llvm.TargetMachine:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    return llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=3, jit=True)


def _module(text: str) -> llvm.ModuleRef:
    import llvmlite.binding as llvm

    narrow = llvm.get_host_cpu_name() in HALVED
    attributes = '"prefer-vector-width"="256" "min-legal-vector-width"="256"' if narrow else "nounwind"
    declared, pause = _PAUSE.get(platform.machine(), ("", ""))
    module = llvm.parse_assembly(
        text + _CREW.format(declared=declared, pause=pause, done=DONE, stop=STOP, attributes=attributes)
    )
    module.verify()
    return module
