"""One trial of `offload.fits`: a fresh process with little memory builds a model and takes two steps, or cannot."""

from __future__ import annotations

import gc
import os
import re
import resource
import warnings
from pathlib import Path

from harness.child import Place, peak, resident
from harness.records import Struct
from microbench.offload.zero_asked import Asked

STEPS = 2  # the first makes the optimizer's state, the second has all of it
OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|std::bad_alloc|\bMemoryError\b|ENOMEM"
    r"|nullptr != pinned_buffer",  # what DeepSpeed asserts of page-locked memory that it asked for
    re.IGNORECASE,
)


class Trial(Struct, frozen=True):
    """asked: what to train. memory: B of data that the process may have beyond what it has when it begins; 0 for
    as much as there is."""

    asked: Asked
    memory: int


class Tried(Struct, frozen=True):
    """words: why it does not fit; nothing where it does. refused: see `zero_asked.Told`. peak: B, greatest resident
    memory beyond that of the beginning. parts: what it is made of, B, by a name of PARTS."""

    words: str = ""
    refused: str = ""
    peak: int = 0
    parts: dict[str, int] = {}


PARTS = {
    "tensors": "tensors that are there between steps: states, gradients, buffers that stay",
    "step": "greatest within a step over what is left after it: tensors at work, copies of a step",
    "kept": "freed, and kept by the allocator",
    "other": "the rest: modules that DeepSpeed imports, threads, communication, tensors that Python does not see",
}


def fit(place: Place) -> Tried:
    """The entry of `harness.children`. What is neither success nor lack of memory is raised."""
    import deepspeed
    import torch

    from microbench.offload.zero_child import refusal, unsupported
    from microbench.offload.zero_engine import Trainer
    from microbench.offload.zero_swap import Traffic

    trial = place.read(Trial)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    deepspeed.init_distributed("gloo")
    said = unsupported(trial.asked)
    if said:
        return Tried(refused=said)
    torch.autograd.backward((torch.rand(256, 256, requires_grad=True) @ torch.rand(256, 256)).sum())  # starts threads
    begin = resident()
    if trial.memory:
        _limit(trial.memory)
    try:
        trainer = Trainer(trial.asked, Traffic())
        for _ in range(STEPS):
            trainer.step()
    except Exception as error:
        if out_of_memory(f"{type(error).__name__}: {error}"):
            return Tried(f"{type(error).__name__}: {error}"[:300])
        words = None if trial.memory else refusal(error)  # an assertion may be for lack of memory
        if words is None:
            raise
        return Tried(refused=words)
    return Tried(peak=peak() - begin, parts=_parts(begin))


def _parts(begin: int) -> dict[str, int]:
    """Of the peak, which they add up to; begin: B resident before the model was there."""
    from microbench.checkpoint import staging

    most, after = peak(), resident()
    tensors = _tensors()
    gc.collect()
    staging.begin()
    left = resident()
    return {"tensors": tensors, "step": most - after, "kept": after - left, "other": left - begin - tensors}


def _tensors() -> int:
    """B of all tensors that Python knows, each storage once."""
    import torch

    sizes = dict[int, int]()
    with warnings.catch_warnings(action="ignore"):  # to ask what an object is wakes deprecated ones
        for one in gc.get_objects():
            if issubclass(type(one), torch.Tensor):
                storage = one.untyped_storage()
                sizes[storage.data_ptr()] = max(storage.nbytes(), sizes.get(storage.data_ptr(), 0))
    return sum(sizes.values())


def out_of_memory(text: str) -> bool:
    """Whether a fault is for lack of memory, by its words."""
    return OUT_OF_MEMORY.search(text) is not None


def _limit(size: int) -> None:
    """At most `size` B of data beyond what is there: heap and private mappings (setrlimit(2), RLIMIT_DATA)."""
    found = re.search(r"^VmData:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError("/proc/self/status does not say how much data the process has")
    whole = int(found.group(1)) * 1024 + size
    resource.setrlimit(resource.RLIMIT_DATA, (whole, whole))
