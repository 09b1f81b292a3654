"""Waiting for a save beside training: when it was durable is noted, whatever training does then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Waiting:
    """Waits in a thread until a save is durable, and notes when that was."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait, self._end, self._fault = wait, 0.0, list[BaseException]()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> float:
        self._thread.join()
        if self._fault:
            raise self._fault[0]
        return self._end

    def _run(self) -> None:
        try:
            self._wait()
        except BaseException as error:
            self._fault.append(error)
        self._end = time.perf_counter()
