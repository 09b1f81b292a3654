"""How much more memory a process held for a while than before."""

from __future__ import annotations

import ctypes
from pathlib import Path

from harness.child import peak

RESET = "5"  # proc(5): sets VmHWM back to what is resident now


def begin() -> bool:
    """Count the greatest resident memory anew; False where the system does not let a process do that. What was freed
    is given back first: a copy that moves in there would not be seen."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # the GNU library's
    if trim is not None:
        trim(0)
    try:
        Path("/proc/self/clear_refs").write_text(RESET)
    except OSError:
        return False
    return True


def greatest() -> int:
    """B, since `begin`."""
    return peak()
