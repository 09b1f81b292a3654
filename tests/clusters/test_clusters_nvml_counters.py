"""What NVML counts, reasons for what is absent, XID errors, a driver that hangs: the real package, a library in C."""

from __future__ import annotations

from pathlib import Path

import pytest
from clusters_nvml import H100, FakeNvml

ABSENT = """
from clusters.accelerators import create
probe = create('cuda').probe(0)
read = [dict(probe.read()) for _ in range({times})]
print(json.dumps([read, dict(probe.absent)]))
probe.close()
"""


def test_what_a_device_lacks_is_absent_with_the_librarys_reason(fake_nvml: FakeNvml) -> None:
    lacking = {"error.power": 3, "error.field.138": 3, "error.field.82": 999, "error.xids": 4}
    fake_nvml.write({**H100, **lacking})
    (read,), absent = fake_nvml.run(ABSENT.format(times=1))
    assert not {"power", "nvlink_sent", "memory_temperature", "xid_errors"} & read.keys()
    assert read["nvlink_received"] == 2.0**20
    assert absent.keys() == {"power", "nvlink_sent", "memory_temperature", "xid_errors"}
    assert "Not Supported" in absent["power"]
    assert "Not Supported" in absent["nvlink_sent"]


def test_what_is_never_answered_is_asked_once_and_what_may_be_again(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    """A question that is not supported would otherwise cost its time ten times a second."""
    calls = tmp_path / "calls"
    fake_nvml.write({**H100, "error.power": 3, "error.energy": 999})
    fake_nvml.run(ABSENT.format(times=5), FAKE_NVML_CALLS=str(calls))
    asked = calls.read_text().split()
    assert [asked.count(name) for name in ("power", "energy", "clock")] == [1, 5, 5]


def test_what_changes_slowly_is_not_read_ten_times_a_second(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    read, _ = fake_nvml.run(ABSENT.format(times=5), FAKE_NVML_CALLS=str(calls))
    asked = calls.read_text().split()
    assert 1 <= asked.count("fields") < 5
    assert "nvlink_sent" in read[0]


def test_xid_errors_are_counted_as_they_come(fake_nvml: FakeNvml) -> None:
    code = f"""
from clusters.accelerators import create
probe = create('cuda').probe(0)
before = dict(probe.read())
text = open({str(fake_nvml.file)!r}).read()
open({str(fake_nvml.file)!r}, 'w').write(text.replace('xids 0', 'xids 3'))
after, later = dict(probe.read()), dict(probe.read())
print(json.dumps([before, after, later]))
probe.close()
"""
    before, after, later = fake_nvml.run(code)
    assert (before["xid_errors"], "xid" in before) == (0.0, False)
    assert (after["xid_errors"], after["xid"]) == (3.0, 79.0)
    assert later["xid_errors"] == 3.0


@pytest.mark.parametrize("key", ["error.events", "error.fields"])
def test_a_device_without_events_or_fields_is_still_read(fake_nvml: FakeNvml, key: str) -> None:
    fake_nvml.write({**H100, key: 3})
    (read,), absent = fake_nvml.run(ABSENT.format(times=1))
    assert read["power"] == pytest.approx(692.5)
    assert {"error.events": "xid_errors", "error.fields": "fields"}[key] in absent


HANGS = """
import time
from clusters.accelerators import create
from harness.policy import Policy
from harness.telemetry import Sampler
sampler = Sampler(create('cuda').probe(0), period=0.01, patience=0.3)
while not sampler.summary():
    time.sleep(0.005)
with open({file!r}, 'a') as script:
    script.write('hang.clock 1\\n')
while sampler.ended is None:
    time.sleep(0.01)
hung = sampler.ended
begin = time.perf_counter()
judged = sampler.disturbed(begin - 1, begin, Policy())
{then}
sampler.close()
print(json.dumps([hung, judged, sampler.ended]))
"""


def test_a_driver_that_hangs_in_a_read_holds_up_neither_the_run_nor_its_end(fake_nvml: FakeNvml) -> None:
    """The process ends, with the read still in the library: the test's time limit would pass otherwise."""
    hung, judged, ended = fake_nvml.run(HANGS.format(file=str(fake_nvml.file), then=""))
    assert "has not answered" in hung
    assert judged is None
    assert ended == hung


def test_a_driver_that_answers_again_is_sampled_again(fake_nvml: FakeNvml) -> None:
    then = f"""
text = open({str(fake_nvml.file)!r}).read()
open({str(fake_nvml.file)!r}, 'w').write(text.replace('hang.clock 1\\n', ''))
while sampler.ended is not None:
    time.sleep(0.01)
"""
    _, _, ended = fake_nvml.run(HANGS.format(file=str(fake_nvml.file), then=then))
    assert ended is None
