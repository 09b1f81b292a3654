"""Models as data: what a decoder-only transformer is made of, as far as shapes and counts go.

A description is a TOML file (the ones beside this module, or any other of the same form) read into
`Model`. `counts` gives its parameters and FLOP, `parts` every matrix product and memory-bound part of
a layer: exact, in whole numbers, without a device. Only `layer` imports torch.
"""

from __future__ import annotations

import math
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from harness.errors import UsageError, unknown
from harness.records import Struct

FOLDER = Path(__file__).parent
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]


class Model(Struct, frozen=True):
    """A stack of equal pre-norm layers: norm, attention, residual, norm, feed-forward, residual.

    ffn: inner width of the feed-forward, of one expert where there are several. gated: SwiGLU, whose
    first product is twice as wide; else GELU. experts: 1 is a dense layer; `active` of them take each
    token. context: longest sequence of its training. source: where the figures come from; note: what is
    left out or approximated.
    """

    title: str
    source: str
    layers: Count
    hidden: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    ffn: Count
    vocabulary: Count
    context: Count
    gated: bool = True
    experts: Count = 1
    active: Count = 1
    norm: Literal["rms", "layer"] = "rms"
    positions: Literal["rope", "learned"] = "rope"
    biases: bool = False
    tied: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads = {self.heads} is no multiple of kv_heads = {self.kv_heads}")
        if self.active > self.experts:
            raise ValueError(f"active = {self.active} is more than experts = {self.experts}")
        if self.positions == "rope" and self.head_dim % 2:
            raise ValueError(f"head_dim = {self.head_dim}: RoPE turns pairs, it has to be even")
        if self.biases and self.experts > 1:
            raise ValueError("biases and experts together are not described: leave biases out")

    @property
    def qkv(self) -> int:
        """Columns of queries, keys and values together."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @property
    def up(self) -> int:
        """Columns of the feed-forward's first product."""
        return 2 * self.ffn if self.gated else self.ffn


def names() -> list[str]:
    """Every name that `load` knows. Reads no file."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def is_file(name: str) -> bool:
    """Whether the text names a file, not a model: it holds '/' or ends in '.toml'."""
    return "/" in name or name.endswith(".toml")


def load(name: str) -> Model:
    """The model of that name, or the one in that file. UsageError for an unknown name or a faulty file."""
    if is_file(name):
        return read(Path(name))
    if name not in names():
        raise unknown("model", name, names(), f"Known: {', '.join(names())}; or name a file that ends in .toml.")
    return _shipped(name)


@cache
def _shipped(name: str) -> Model:
    return read(FOLDER / f"{name}.toml")


def read(path: Path) -> Model:
    """The description in a file; UsageError names the file, the key and what is accepted."""
    data = _toml(path)
    keys = Model.__struct_fields__
    wrong = [key for key in data if key not in keys]
    missing = [key for key in keys if key not in data and key in _REQUIRED]
    if wrong or missing:
        said = [f"unknown: {', '.join(wrong)}"] if wrong else []
        said += [f"missing: {', '.join(missing)}"] if missing else []
        raise UsageError(f"{path}: {'; '.join(said)}. Keys of a model: {', '.join(keys)}.")
    try:
        return msgspec.convert(data, Model)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {str(error).replace('$.', '')}.") from error


_REQUIRED = Model.__struct_fields__[: len(Model.__struct_fields__) - len(Model.__struct_defaults__)]


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}. Models with a name: {', '.join(names())}."
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text, which TOML has to be.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: no valid TOML: {error}.") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
        raise UsageError(f"{path}: no valid TOML: a value is too long or nested too deep.") from error


def shard(model: Model, degree: int) -> Model:
    """One device's share under tensor parallelism of that degree (Shoeybi et al., Megatron-LM,
    arXiv 1909.08053): heads, inner width and vocabulary are divided, the residual stream is whole.

    ValueError where something does not divide: it names the numbers, and the degrees that would.
    """
    divided = {name: getattr(model, name) for name in ("heads", "kv_heads", "ffn", "vocabulary")}
    odd = [f"{name} {value}" for name, value in divided.items() if value % degree]
    if not odd:
        return msgspec.structs.replace(model, **{name: value // degree for name, value in divided.items()})
    common = math.gcd(*divided.values())
    fits = ", ".join(str(n) for n in range(1, min(common, 1024) + 1) if common % n == 0)
    padded = -(-model.vocabulary // (128 * degree)) * 128 * degree
    hint = f"; vocabulary={padded} would (padded to 128 a device)" if model.vocabulary % degree else ""
    raise ValueError(f"tensor_parallel={degree} does not divide {', '.join(odd)}; degrees that do: {fits}{hint}")
