"""What a report is told of checkpoints: whose interruptions are counted on, and that costs are those that were
measured."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from msgspec import structs

from bench.goodput import SIZES, goodputs, jobs, measured
from clusters import definition, local
from costmodels.goodput import best_interval
from harness.hardware import Peak
from harness.records import SCHEMA, Better, Measurement, Ok, Origin, Record
from harness.summary import cells
from harness.units import Unit

TIMES = {"blocked": 0.5, "durable": 2.0, "restore": 8.0}


def save(engine: str, drag: float | None = None, **changed: float) -> Record:
    """Five samples of each, 2 % apart."""
    held = [(name, Unit.SECOND, value) for name, value in (TIMES | changed).items()]
    held += [("drag", Unit.RATIO, drag)] if drag else []
    taken = tuple(
        Measurement(name, unit, Better.LOWER, tuple(value * (1 + 0.02 * i) for i in (-2, -1, 0, 1, 2)), Origin.MEASURED)
        for name, unit, value in held if value
    )  # fmt: skip
    return Record(SCHEMA, "checkpoint.save", 1, {"engine": engine, "ranks": 2}, 0, Ok(), taken)


def run(*records: Record, name: str = "h100") -> SimpleNamespace:
    return SimpleNamespace(records=records, info=SimpleNamespace(cluster=definition.load(name)))


def test_a_definition_that_knows_its_devices_is_asked() -> None:
    own, found = jobs(definition.load("h100"))
    assert own
    assert [job.devices for job in found] == [8, *SIZES]  # the cluster itself, too
    assert found[-1].mtbf == pytest.approx(54 * 86400 / 419, rel=1e-3)  # Llama 3's own job
    assert "2407.21783" in found[-1].source


def test_without_a_figure_the_published_one_is_not_called_this_clusters() -> None:
    own, found = jobs(local.detect())
    assert not own
    assert [job.devices for job in found] == [*SIZES]
    assert "H100" in found[0].source


def test_a_clusters_own_figure_goes_first() -> None:
    cluster = definition.load("mi300x")
    device = structs.replace(cluster.device, interruptions=Peak(1e6, Unit.SECOND, "a device", "x"))
    own, found = jobs(structs.replace(cluster, device=device, sources=cluster.sources | {"x": "a letter"}))
    assert own
    assert {job.mtbf * job.devices for job in found} == {1e6}
    assert found[0].source.endswith("a letter")


def test_a_given_mean_time_is_the_whole_jobs() -> None:
    (model,) = goodputs(run(save("dcp")), mtbf=3600)
    assert (model.job.devices, model.job.mtbf, model.own) == (0, 3600, True)


def test_every_engine_is_modelled_from_its_own_costs() -> None:
    records = (save("dcp"), save("lazy", 1.5, blocked=0.01))
    found = goodputs(run(*records))
    assert [(model.params["engine"], model.job.devices) for model in found] == [
        (engine, devices) for devices in (8, *SIZES) for engine in ("dcp", "lazy")
    ]
    (cell,) = cells([save("lazy", 1.5, blocked=0.01)])
    known = measured(cell)
    assert known is not None
    assert (known.value.blocked, known.value.lag, known.value.slowdown) == pytest.approx((0.01, 1.99, 1.5))
    last = found[-1]
    assert last.best.value == pytest.approx(best_interval(known.value, last.job.mtbf))
    assert last.best.low < last.best.value < last.best.high
    assert all(a < b for (a, _), (b, _) in zip(last.curve, last.curve[1:], strict=False))
    assert max(at.value for _, at in last.curve) <= last.goodput.value
    assert max(at.value for _, at in last.curve) == pytest.approx(last.goodput.value, rel=1e-3)


def test_a_background_whose_drag_is_unknown_is_not_taken_for_free() -> None:
    """torch.save leaves its bytes to the page cache: it would look better than it is."""
    noted = [
        bool(goodputs(run(record))[0].notes) for record in (save("torch"), save("lazy", 1.2), save("dcp", durable=0.51))
    ]
    assert noted == [True, False, False]


def test_a_save_with_a_cost_unknown_has_no_model() -> None:
    assert goodputs(run(save("dcp", restore=0.0))) == ()
    assert goodputs(run()) == ()
