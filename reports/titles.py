"""Names of families and quantities as a reader knows them. What is not here is shown as it is called."""

from __future__ import annotations

from reports.text import clean, spoken

FAMILIES = {
    "collectives": "Collectives", "e2e": "End-to-end training", "gemm": "Matrix multiplication",
    "memory": "Memory bandwidth",
}  # fmt: skip
QUANTITIES = {"busbw": "bus bandwidth", "algbw": "algorithm bandwidth", "flops": "rate", "bandwidth": "bandwidth",
              "traffic": "traffic", "time": "time", "gain": "gain", "tokens": "tokens",
              "hardware_flops": "rate with recomputation"}  # fmt: skip


OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "send_recv", "reduce",
              "gather", "scatter", "all_to_all_uneven", "exchange", "barrier", "pairwise", "overlap")  # fmt: skip
DTYPES = ("float32", "bfloat16", "float16", "tf32", "float8", "float64", "int64", "int8")
LOOPS = ("copy", "scale", "add", "triad", "read", "write")


def order(benchmark: str, dtype: object, op: object) -> tuple[str, int, str, int, int]:
    """Sorts benchmarks, data types and loops as a reader expects them; what is unknown comes last."""
    family, _, name = benchmark.partition(".")
    return family, _at(OPERATIONS, name), name, _at(DTYPES, dtype), _at(LOOPS, op)


def _at(known: tuple[str, ...], name: object) -> int:
    return known.index(name) if isinstance(name, str) and name in known else len(known)


def family_title(name: str) -> str:
    return FAMILIES.get(name, spoken(name).capitalize())


def quantity(name: str) -> str:
    return QUANTITIES.get(name, clean(name).replace("_", " "))
