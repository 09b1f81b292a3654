"""No process of a launch outlives the one that started it, however that one ends.

A parent that is killed (SIGKILL, out of memory) can end nobody. The kernel can: it signals a process
when its parent dies (prctl(2), PR_SET_PDEATHSIG), at no cost while both live.
"""

from __future__ import annotations

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
"""Looked up here, so that `end_with_parent` does nothing but one system call: it runs after a fork."""


def end_with_parent() -> None:
    """Ask for SIGTERM when the parent of this process dies. Holds across exec, not for children; on
    other systems than Linux it does nothing."""
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
