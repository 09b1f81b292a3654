"""Shares of peak and of published figures: never made up, never silently above 100 %."""

from __future__ import annotations

import pytest
import reports_synthetic as synthetic
from msgspec import structs

from harness.hardware import Cluster, Link, Peak, Reference
from harness.records import Cadence, Ok, Params, Rate
from harness.summary import Figure, cells
from harness.units import Unit
from reports.shares import SHARP, Roof, links_roof, of_peak, of_published

GB = Unit.BYTE_PER_SECOND
FLOP = Unit.FLOP_PER_SECOND


def figure(benchmark: str, name: str, value: float, params: Params) -> Figure:
    """A measured rate of exactly `value`."""
    noise = synthetic.Noise(0, 0.0)
    unit = FLOP if name == "flops" else GB
    taken = [noise.time(Cadence.ISOLATED, 1.0, [Rate(name, value, unit)], 10)]
    found = cells([synthetic.record(benchmark, params, Ok(), taken)])[0].figure(name)
    assert found is not None
    return found


def switched(per_device: float) -> Cluster:
    cluster = synthetic.cluster_mi300x()
    link = Link("NVLink", "switched", Peak(per_device, GB, "per device and direction", "datasheet"))
    return structs.replace(cluster, node=structs.replace(cluster.node, link=link))


def test_share_of_a_declared_peak_names_basis_and_source() -> None:
    share = of_peak(figure("gemm.square", "flops", 653.7e12, {"dtype": "bfloat16", "m": 8}), synthetic.cluster_mi300x())
    assert share.ratio == pytest.approx(0.5)
    assert "dense bf16, per GPU" in share.note
    assert "data sheet, 2023" in share.note
    assert not share.alarm


def test_without_a_peak_there_is_no_share_and_the_reason_is_said() -> None:
    share = of_peak(figure("gemm.square", "flops", 1e12, {"dtype": "int8"}), synthetic.cluster_mi300x())
    assert share.ratio is None
    assert share.note == "n/a: no dense int8 peak known for AMD Instinct MI300X"
    bf16 = of_peak(figure("gemm.square", "flops", 1e9, {"dtype": "bfloat16"}), synthetic.local().info.cluster)
    assert bf16.note == "n/a: no dense bf16 peak known for Intel Xeon Processor @ 2.60 GHz"


def test_ranks_that_share_a_device_have_no_share_of_it() -> None:
    one = figure("memory.stream", "bandwidth", 1e12, {"op": "copy", "size": 1 << 30})
    assert of_peak(one, synthetic.cluster_mi300x(), per_device=2).note.startswith("n/a: 2 ranks share one device")


def test_other_sources_are_named() -> None:
    one = figure("memory.stream", "bandwidth", 1e12, {"op": "copy", "size": 1 << 30})
    assert "5.2\u00a0TB/s in an older slide" in of_peak(one, synthetic.cluster_mi300x()).note


def test_above_the_peak_is_an_error_that_names_both_sides() -> None:
    share = of_peak(figure("gemm.square", "flops", 2000e12, {"dtype": "bfloat16", "m": 8}), synthetic.cluster_mi300x())
    assert share.ratio == pytest.approx(2000 / 1307.4)
    for part in ("above 100 %", "2.00\u00a0PFLOP/s", "measured here", "1,307.4\u00a0TFLOP/s", "data sheet", "wrong"):
        assert part in share.alarm


def test_an_all_reduce_above_its_links_is_explained_by_reduction_in_the_network() -> None:
    params: Params = {"dtype": "float32", "ranks": 8, "size": 1 << 30}
    share = of_peak(figure("collectives.all_reduce", "busbw", 480e9, params), switched(450e9))
    assert SHARP in share.alarm
    other = of_peak(figure("collectives.all_gather", "busbw", 480e9, params), switched(450e9))
    assert SHARP not in other.alarm
    assert "wrong" in other.alarm


@pytest.mark.parametrize(
    ("operation", "ranks", "roof"),
    [
        ("all_reduce", 8, 448e9),  # seven links of a fully connected node
        ("all_reduce", 2, 64e9),
        ("send_recv", 8, 64e9),  # a pair has one link
        ("all_reduce", 1024, 400e9),  # all NICs of a node
        ("send_recv", 1024, 50e9),  # a device's part of them
        ("all_to_all", 1024, 50e9 * 1023 / 1016),
    ],
)
def test_roofs_of_a_fully_connected_node_and_beyond(operation: str, ranks: int, roof: float) -> None:
    found = links_roof(synthetic.cluster_mi300x(128), operation, ranks)
    assert isinstance(found, Roof)
    assert found.value == pytest.approx(roof)


def test_an_unknown_operation_or_link_has_no_roof() -> None:
    assert "not known" in str(links_roof(synthetic.cluster_mi300x(128), "gossip", 1024))
    assert links_roof(synthetic.local().info.cluster, "all_reduce", 2) == (
        "no link bandwidth known for Intel Xeon Processor @ 2.60 GHz"
    )


def published(*references: Reference) -> Cluster:
    return structs.replace(synthetic.cluster_mi300x(), reference=references)


def test_the_best_published_figure_for_the_same_parameters_counts() -> None:
    def reference(value: float, **params: object) -> Reference:
        return Reference("collectives.all_reduce", "busbw", value, GB, "rccl-tests", params)  # type: ignore[arg-type]

    one = figure("collectives.all_reduce", "busbw", 150e9, {"dtype": "float32", "ranks": 8, "size": 1 << 28})
    share = of_published(
        one, published(reference(200e9, ranks=8), reference(300e9, ranks=8), reference(900e9, ranks=16))
    )
    assert share.ratio == pytest.approx(0.5)
    assert "rccl-tests on one node" in share.note
    other = of_published(one, published(reference(900e9, ranks=16)))
    assert other.ratio is None
    assert "16\u00a0ranks" in other.note
    assert "no published measurement" in of_published(one, published()).note
