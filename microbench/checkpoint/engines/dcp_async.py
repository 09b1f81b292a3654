"""torch.distributed.checkpoint, asynchronous: state is copied first, then written by a thread beside training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from microbench.checkpoint.engines.dcp import METADATA, load
from microbench.checkpoint.engines.durable import Then, sync_all

if TYPE_CHECKING:
    from torch.distributed.checkpoint.staging import DefaultStager

    from microbench.checkpoint.engines import Pending
    from microbench.checkpoint.state import TrainingState


class DcpAsync:
    """Training stands still for the copy ("staging") alone. The ranks agree in a group of their own: collectives of
    two threads in one group would mix."""

    name = "dcp_async"
    background = True
    notes = ("state is copied while training stands still, then written by a thread",)

    def __init__(self) -> None:
        import torch.distributed.checkpoint  # noqa: F401 (here, so that no save pays for it)

        self.phases: dict[str, float] = {}
        self._stager: Any = None
        self._group: Any = None
        self._last = Then(lambda: None)

    def save(self, state: TrainingState, folder: Path) -> Pending:
        import torch
        from torch.distributed.checkpoint.state_dict_saver import async_save

        from microbench.checkpoint.engines.streams import Writer

        self._last.wait()
        if self._group is None:
            self._group, self._stager = torch.distributed.new_group(backend="gloo"), stager(state, at_once=True)
        future: Any = async_save(
            dict(state.tensors()), storage_writer=Writer(folder), process_group=self._group,
            async_stager=self._stager,
        )  # fmt: skip

        def finish() -> None:
            future.result()
            sync_all([], folder)

        self._last = Then(finish)
        return self._last

    def load(self, state: TrainingState, folder: Path) -> None:
        load(state, folder)

    def complete(self, folder: Path) -> bool:
        return (folder / METADATA).is_file()

    def close(self) -> None:
        self._last.wait()
        if self._stager is not None:
            self._stager.close()


def stager(state: TrainingState, at_once: bool) -> DefaultStager:
    """DCP's copier of state, in memory that it keeps for the next time; pinned where there is a device to pin for.
    at_once: it copies before it returns, else in a thread."""
    from torch.distributed.checkpoint import staging

    device = state.device.type != "cpu"
    return staging.DefaultStager(
        staging.StagingOptions(
            use_pinned_memory=device, use_shared_memory=False, use_async_staging=not at_once,
            use_non_blocking_copy=device,
        )
    )  # fmt: skip
