"""The definitions that come with the suite hold together, and the document describes their form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import inspect

from clusters import definition
from clusters.plausibility import DTYPES, figures
from harness.hardware import Cluster

SHIPPED = ("a100", "b200", "gb200", "h100", "h200", "mi250x", "mi300x", "mi325x", "mi355x")
DOCUMENT = Path(definition.__file__).parents[1] / "docs" / "clusters.md"


def test_names_are_the_files_and_local() -> None:
    assert definition.names() == [*SHIPPED, "local"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_definition_is_valid_and_bears_its_file_name(name: str) -> None:
    cluster = definition.load(name)
    assert cluster.name == name
    assert cluster.reference or name == "mi250x"
    assert cluster.device.price or cluster.accelerator == "rocm"


@pytest.mark.parametrize("name", SHIPPED)
def test_every_figure_is_positive_and_its_source_resolves(name: str) -> None:
    cluster = definition.load(name)
    given_figures = list(figures(cluster))
    assert {"device.memory", "device.bandwidth", "device.power"} <= {key for key, _, _ in given_figures}
    for _, figure, unit in given_figures:
        assert figure.unit is unit
        assert all(math.isfinite(value) and value > 0 for value in (figure.value, *(d.value for d in figure.disagrees)))
        assert {figure.source, *(d.source for d in figure.disagrees)} <= set(cluster.sources)
    assert all(entry.value > 0 and entry.source in cluster.sources for entry in cluster.reference)


@pytest.mark.parametrize("name", SHIPPED)
def test_no_source_is_listed_in_vain(name: str) -> None:
    cluster = definition.load(name)
    used = {entry.source for entry in cluster.reference}
    used |= {cluster.device.price.source} if cluster.device.price else set()
    for _, figure, _ in figures(cluster):
        used |= {figure.source, *(other.source for other in figure.disagrees)}
    assert set(cluster.sources) == used


@pytest.mark.parametrize("name", SHIPPED)
def test_narrower_types_are_never_slower_and_none_is_sparse(name: str) -> None:
    peaks = {dtype: figure.value for dtype, figure in definition.load(name).device.peaks.items()}
    assert peaks["float64"] <= peaks["float32"] < peaks["bfloat16"] == peaks["float16"]
    wide = {"tf32": 2.0, "float8": 2.0, "int8": 2.0, "float6": 4.1, "float4": 4.1}
    for dtype, most in wide.items():
        ratio = peaks.get(dtype, peaks["bfloat16"]) / peaks["bfloat16"]
        assert (0.45 if dtype == "tf32" else 1.0) <= ratio <= most * 1.001, dtype


@pytest.mark.parametrize("name", SHIPPED)
def test_what_was_measured_elsewhere_stays_below_the_peak(name: str) -> None:
    """A published share above 1 would mean a peak of the wrong basis (sparse, or half a device)."""
    cluster = definition.load(name)
    for entry in cluster.reference:
        if entry.rate == "flops":
            assert 0.4 < entry.value / cluster.device.peaks[str(entry.params["dtype"])].value < 1
        elif entry.rate == "bandwidth":
            assert cluster.device.bandwidth is not None
            assert 0.5 < entry.value / cluster.device.bandwidth.value < 1


def test_known_figures() -> None:
    """Spot checks against the papers themselves."""
    h100, mi250x, gb200 = (definition.load(name) for name in ("h100", "mi250x", "gb200"))
    assert h100.device.peaks["bfloat16"].value == 989.4e12
    assert h100.device.peaks["float8"].value == 1978.9e12
    assert (mi250x.node.devices, mi250x.device.peaks["bfloat16"].value) == (8, 383e12 / 2)
    assert "per GCD" in mi250x.device.peaks["bfloat16"].basis
    assert (gb200.nodes, gb200.devices) == (1, 72)


def test_bandwidth_inside_a_fully_connected_node_goes_by_links() -> None:
    mi300x = definition.load("mi300x")
    assert mi300x.devices == 1024
    assert [mi300x.links_bandwidth(ranks) for ranks in (2, 4, 8)] == [64e9, 192e9, 448e9]
    assert definition.load("h100").links_bandwidth(2) == 450e9


def test_sources_that_disagree_are_both_there() -> None:
    for name, dtype, other in (("mi300x", "bfloat16", 1300e12), ("mi355x", "bfloat16", 2300e12)):
        figure = definition.load(name).device.peaks[dtype]
        assert other in {dissent.value for dissent in figure.disagrees}
    assert "2,048" in definition.load("mi300x").description


def test_the_documented_example_is_valid(tmp_path: Path) -> None:
    lab = tmp_path / "example.toml"
    blocks = DOCUMENT.read_text().split("```toml\n")[1:]
    lab.write_text(blocks[0].split("```")[0])
    cluster = definition.validate(lab)
    assert cluster.name == "example"
    assert cluster.reference
    assert cluster.device.price


def keys(kind: inspect.Type) -> Iterator[str]:
    """The names of all keys that a type has, its inner types' too."""
    if isinstance(kind, inspect.StructType):
        for field in kind.fields:
            yield field.encode_name
            yield from keys(field.type)
    for inner in (*getattr(kind, "types", ()), getattr(kind, "item_type", None), getattr(kind, "value_type", None)):
        if inner is not None:
            yield from keys(inner)


def test_the_document_describes_every_key() -> None:
    text = DOCUMENT.read_text()
    described = {
        word for row in text.splitlines() if row.startswith("| `") for word in row.split("|")[1].split("`")[1::2]
    }
    last = {word.rpartition(".")[2].strip("[]") for word in described}
    assert not set(keys(inspect.type_info(Cluster))) - last
    assert not [dtype for dtype in DTYPES if f"`{dtype}`" not in text]
