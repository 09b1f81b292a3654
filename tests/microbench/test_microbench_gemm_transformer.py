"""Sizing of a transformer: its cells, every part against float64 and torch's FLOP count, every preset's shapes."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from microbench_layers import MODELS, asked, roomy
from torch.utils.flop_counter import FlopCounterMode

from clusters.accelerators.simulated import SimulatedMeter
from harness import models
from harness.errors import Skip, UsageError, WrongAnswer
from harness.models import layer as run_layer
from harness.models.counts import layer_flops
from harness.models.parts import parts
from harness.ranks import OneProcess
from harness.records import Cadence, Origin
from microbench.gemm import layer_products, layer_streams
from microbench.gemm.transformer import TransformerParams, build, described, expand, shard, transformer

DENSE = {
    "qkv", "rope", "attention", "scores", "values", "projection", "up", "activation", "down", "norm", "residual",
    "logits",
}  # fmt: skip


def params(**given) -> TransformerParams:
    return msgspec.convert(given, TransformerParams, strict=False)


def cells(model: str, dtype: str = "float32"):
    """Every part of a small model, with what it is asked for."""
    one = asked(model, dtype)
    return [(one, part) for part in parts(one.model, one.sequence, one.batch, 4 if dtype == "float32" else 2)]


def task(one, part, context=None):
    module = layer_products if part.kind in layer_products.NAMES else layer_streams
    return module.build(context or roomy(), one, part)


ALL = [pytest.param(*cell, id=f"{name} {cell[1].name}") for name in MODELS for cell in cells(name)]


class TestCells:
    def test_one_cell_is_asked_for_and_one_a_part_is_measured(self):
        held = expand(params(model="tiny"))
        assert {cell.part.partition(".")[0] for cell in held} == DENSE | {"layer"}
        assert len({cell.part for cell in held}) == len(held) == 3 * 7 + 2 * 5 + 1
        assert {"router", "route", "permute", "combine"} < {
            cell.part.partition(".")[0] for cell in expand(params(model="tiny-moe"))
        }

    def test_a_part_or_a_piece_may_be_asked_for(self):
        assert [cell.part for cell in expand(params(part="qkv"))] == ["qkv.forward", "qkv.input", "qkv.weight"]
        assert [cell.part for cell in expand(params(part="norm.backward"))] == ["norm.backward"]
        assert [cell.part for cell in expand(params(part="layer"))] == ["layer"]
        with pytest.raises(msgspec.ValidationError, match=r"part='qk': the parts of tiny are qkv.forward, "):
            params(part="qk")

    @pytest.mark.parametrize("name", models.names())
    def test_the_sum_over_parts_is_the_layer(self, name):
        model, one = models.load(name), params(model=name, batch=2)
        held = parts(shard(one), one.sequence, one.batch)
        assert sum(part.flops * part.times for part in held) == layer_flops(model, one.sequence, 2, causal=True)

    def test_the_sequence_is_the_models_own_up_to_2048(self):
        assert params(model="tiny").sequence == 512
        assert params(model="llama3-8b").sequence == 2048
        assert params(model="llama3-8b", sequence=8192).sequence == 8192
        with pytest.raises(msgspec.ValidationError, match="sequence=4096: gpt3-175b has learned positions for 2048"):
            params(model="gpt3-175b", sequence=4096)

        with pytest.raises(msgspec.ValidationError, match="sequence=1: attention over one token has no gradient"):
            params(sequence=1)

    def test_a_degree_that_does_not_divide_is_refused(self):
        with pytest.raises(
            msgspec.ValidationError, match="tensor_parallel=16 does not divide kv_heads 8; degrees that"
        ):
            params(model="llama3-70b", tensor_parallel=16)
        with pytest.raises(msgspec.ValidationError, match="vocabulary=51200 would"):
            params(model="gpt3-175b", tensor_parallel=8)
        assert shard(params(model="gpt3-175b", tensor_parallel=8, vocabulary=51200)).vocabulary == 6400

    def test_a_file_is_named_by_its_whole_path(self, tmp_path, monkeypatch):
        (tmp_path / "mine.toml").write_text((models.FOLDER / "tiny.toml").read_text().replace("ffn = 1792", "ffn = 64"))
        monkeypatch.chdir(tmp_path)
        mine = params(model="mine.toml")
        assert (mine.model, shard(mine).ffn) == (str(tmp_path / "mine.toml"), 64)
        with pytest.raises(UsageError, match=r"other.toml: cannot be read"):
            params(model="other.toml")

    def test_a_measurement_says_its_shape_and_how_often_the_layer_does_it(self):
        one = params(model="tiny", part="norm.forward")
        part = next(part for part in parts(shard(one), 512) if part.name == "norm.forward")
        assert described(one, part) == {"times": 2, "m": 512, "n": 512}
        assert described(one, None)["kv_heads"] == 2


class TestParts:
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    @pytest.mark.parametrize("model", MODELS)
    def test_right_parts_pass_and_run(self, model, dtype):
        for one, part in cells(model, dtype):
            made = task(one, part)
            made.check()
            made.prepare(2)
            made.step(1)

    @pytest.mark.parametrize("kernel", [True, False])
    def test_grouped_products_are_right_by_kernel_and_in_a_loop(self, kernel, monkeypatch):
        monkeypatch.setattr(run_layer, "KERNEL", kernel and run_layer.KERNEL)
        for one, part in cells("moe"):
            if part.kind == "grouped":
                task(one, part).check()

    @pytest.mark.parametrize(("one", "part"), ALL)
    def test_flop_are_those_that_torch_counts(self, one, part, monkeypatch):
        """In its products: the fused attention of the CPU is not among those that torch counts."""
        monkeypatch.setattr(run_layer, "KERNEL", False)
        made = task(one, part)
        made.prepare(1)
        with FlopCounterMode(display=False) as counter:
            made.step(0)
        assert counter.get_total_flops() == (0 if part.kind == "attention" else part.flops)
        assert made.operation.flops == part.flops

    @pytest.mark.parametrize(("one", "part"), ALL)
    def test_bytes_are_those_of_operands_and_results(self, one, part):
        """Each once. Where a part passes something on unread, or reads a table, the difference is that."""
        tokens, model, item = one.tokens, one.model, 4
        if part.kind in layer_products.NAMES:
            operands = [torch.empty(shape) for shape in layer_products.factors(model, part)]
            ends = layer_products.balanced(part, torch.device("cpu"))
            held = [*operands, layer_products.multiplication(part, ends)(*operands)]
        else:
            piece = layer_streams.pieces(one, torch.device("cpu"))[part.piece]
            backward = piece.gradient and part.direction == "backward"
            shapes = piece.inputs + (piece.outputs if backward else ())
            found = layer_streams.run([torch.rand(shape) for shape in shapes], piece)
            held = [torch.empty(shape) for shape in shapes] + (found[len(piece.outputs) :] if backward else found)
        table, choices = one.sequence * model.head_dim * item, 8 * tokens * model.active
        values = 2 * tokens * model.kv_heads * model.head_dim * item
        unread = tokens * model.qkv * item  # the linear splits need no input for their gradient
        elsewhere = {
            "rope.forward": table - values, "rope.backward": table - unread, "split.backward": -unread,
            "attention.backward": tokens * model.heads * model.head_dim * item,  # forward's output too
            "norm.backward": (0 if model.norm == "rms" else -model.hidden) * item,  # the bias needs no reading
            "route.forward": choices, "route.backward": choices, "combine.forward": choices,
            "combine.backward": choices, "permute.forward": choices,
            "permute.backward": choices - tokens * model.hidden * item,
        }  # fmt: skip
        assert part.bytes == sum(tensor.nbytes for tensor in held) + elsewhere.get(part.name, 0)

    @settings(max_examples=20, deadline=None)
    @given(rows=st.integers(0, 50), count=st.integers(1, 9))
    def test_experts_have_as_many_rows_each_to_one(self, rows, count):
        one = next(part for _, part in cells("moe") if part.name == "up.forward")
        ends = layer_products.balanced(dataclasses.replace(one, m=rows, count=count), torch.device("cpu")).tolist()
        sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        assert sum(sizes) == rows
        assert max(sizes) - min(sizes) <= 1

    def test_backward_has_one_graph_a_set_and_no_more(self):
        one, part = next(cell for cell in cells("llama") if cell[1].name == "activation.backward")
        made = task(one, part)
        assert made.lasting == made.rotation > 1
        for _ in range(3):
            made.prepare(made.rotation)
            for index in range(made.rotation):
                made.step(index)

    def test_logits_and_attentions_own_products_stand_beside_the_layer(self):
        beside = {part.piece for _, part in cells("llama") if not part.times}
        assert beside == {"logits", "scores", "values"}


def _short(multiply):
    """A product that forgets the last of what it adds up."""

    def planted(part, ends):
        right = multiply(part, ends)

        def product(a, b, *bias):
            a = a.clone()
            (a[..., -8:, :] if part.direction == "weight" else a[..., -8:]).zero_()
            return right(a, b, *bias)

        return product

    return planted


FAULTS = {
    "normalise": lambda right: lambda *each: right(*each) * 1.05,
    "split": lambda right: lambda *each: tuple(x.flip(1) for x in right(*each)),
    "attend": lambda right: lambda q, k, v: right(q, k, v.roll(1, 1)),
    "activate": lambda right: lambda x, gated: right(x, gated).clamp(max=1.0),
    "permute": lambda right: lambda x, order, active: right(x, order, active).round(),
    "combine": lambda right: lambda rows, w, order: right(rows, w.abs(), order),
}
PIECES = {
    "normalise": "norm", "split": "rope", "attend": "attention", "activate": "activation", "permute": "permute",
    "combine": "combine",
}  # fmt: skip


class TestWrong:
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    @pytest.mark.parametrize("model", MODELS)
    def test_products_that_leave_out_a_part_are_found(self, model, dtype, monkeypatch):
        monkeypatch.setattr(layer_products, "multiplication", _short(layer_products.multiplication))
        for one, part in cells(model, dtype):
            if part.kind in layer_products.NAMES:
                with pytest.raises(WrongAnswer, match="product: element"):
                    task(one, part).check()

    @pytest.mark.parametrize("direction", ["forward", "backward"])
    @pytest.mark.parametrize("name", FAULTS)
    def test_a_faulty_kernel_is_found(self, name, direction, monkeypatch):
        """Wrong in the type that is measured, right in float64."""
        right = getattr(run_layer, name)
        wrong = FAULTS[name](right)

        def planted(*each):
            low = any(x.dtype == torch.bfloat16 for x in each if isinstance(x, torch.Tensor))
            return (wrong if low else right)(*each)

        monkeypatch.setattr(run_layer, name, planted)
        one, part = next(c for c in cells("moe", "bfloat16") if c[1].name == f"{PIECES[name]}.{direction}")
        with pytest.raises(WrongAnswer, match=rf"bfloat16 {part.name}"):
            task(one, part).check()

    def test_too_little_memory_and_a_refused_type_are_skips(self):
        for one, part in cells("moe"):
            with pytest.raises(Skip, match="needs"):
                task(one, part, roomy(free=1000))
            with pytest.raises(Skip, match="no vector instructions"):
                task(one, part, roomy(reason="no vector instructions"))


class TestSimulated:
    @pytest.mark.parametrize("degree", range(1, 9))
    @pytest.mark.parametrize("name", models.names())
    def test_every_preset_is_built_or_refused_with_what_would_divide(self, name, degree):
        whole = models.load(name)
        if any(number % degree for number in (whole.heads, whole.kv_heads, whole.ffn, whole.vocabulary)):
            with pytest.raises(msgspec.ValidationError, match=f"tensor_parallel={degree} does not divide"):
                params(model=name, tensor_parallel=degree)
            return
        one = params(model=name, tensor_parallel=degree, dtype="bfloat16")
        known = {part.name: part for part in parts(shard(one), one.sequence)}
        for cell in expand(one):
            made = build(roomy("meta", free=192 << 30), cell, known.get(cell.part))
            assert made.operation.kind in ("gemm", "stream", "step")
            assert made.operation.flops + made.operation.bytes > 0
            assert (made.operation.kind == "stream") == (made.operation.flops == 0)

    def test_every_cell_is_measured_once_and_says_its_part(self):
        context = roomy("meta", free=192 << 30)
        context = dataclasses.replace(context, meter=SimulatedMeter(lambda _: 1e-3, OneProcess(), 1))
        for cell in expand(params(model="mixtral-8x7b", tensor_parallel=2, dtype="bfloat16")):
            (measurement,) = transformer(context, cell)
            assert (measurement.cadence, measurement.origin) == (Cadence.STREAMING, Origin.MODELLED)
            assert ("times" in measurement.params) == (cell.part != "layer")
            assert len(measurement.samples) >= 3
