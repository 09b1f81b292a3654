"""How much more memory a process held for a while than before.

Both ends of the difference follow `begin`: what a process holds at any other moment is in part what it has freed and
keeps, and a copy that moves in there does not show.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from harness.child import peak

RESET = "5"  # proc(5): sets VmHWM back to what is resident now


def begin() -> bool:
    """Give back what was freed, and count the greatest resident memory anew, from what is left; False where the system
    does not let a process do that."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # the GNU library's
    if trim is not None:
        trim(0)
    try:
        Path("/proc/self/clear_refs").write_text(RESET)
    except OSError:
        return False
    return True


def greatest() -> int:
    """B, since `begin`; right after it, what the process holds."""
    return peak()
