"""What NVML counts and tells on request: links, errors, memory, and the driver's XID errors."""

from __future__ import annotations

from typing import Any

from harness.telemetry import ProbeLost

Untyped = Any
"""The package has no types: the module itself, its handles, its C structures."""

EVERY_LINK = 0xFFFFFFFF  # scope of a field: the sum over the device's links
FIELDS: dict[str, tuple[str, int, float]] = {
    "memory_temperature": ("NVML_FI_DEV_MEMORY_TEMP", 0, 1.0),
    "nvlink_sent": ("NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX", EVERY_LINK, 1024.0),  # from KiB
    "nvlink_received": ("NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX", EVERY_LINK, 1024.0),
    "nvlink_crc_errors": ("NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", 0, 1.0),
    "nvlink_replays": ("NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", 0, 1.0),
    "nvlink_recoveries": ("NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", 0, 1.0),
    "pcie_sent": ("NVML_FI_DEV_PCIE_COUNT_TX_BYTES", 0, 1.0),
    "pcie_received": ("NVML_FI_DEV_PCIE_COUNT_RX_BYTES", 0, 1.0),
    "pcie_replays": ("NVML_FI_DEV_PCIE_REPLAY_COUNTER", 0, 1.0),
}
"""Fields of nvml.h that one call answers together: name, scope, and B (or 1) in one count. Bytes over PCIe are the
running counters, never nvmlDeviceGetPcieThroughput, which samples for 20 ms inside the call."""
VALUES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")  # by nvmlValueType_t


class Questions:
    """Asks about one device. `absent`: what it has no answer to, and the library's reason. A question that the device
    will never answer is put once; ProbeLost where the device or its driver is gone."""

    def __init__(self, nvml: Untyped, handle: Untyped, rank: int) -> None:
        n = self.nvml = nvml
        self.absent: dict[str, str] = {}
        self.handle, self._rank = handle, rank
        self._never: set[object] = set()
        self._lost = (n.NVML_ERROR_GPU_IS_LOST, n.NVML_ERROR_DRIVER_NOT_LOADED, n.NVML_ERROR_UNINITIALIZED)
        self._final = (
            n.NVML_ERROR_NOT_SUPPORTED, n.NVML_ERROR_FUNCTION_NOT_FOUND, n.NVML_ERROR_INVALID_ARGUMENT,
            n.NVML_ERROR_NO_PERMISSION,
        )  # fmt: skip
        self._fields = [
            (name, int(getattr(n, field)), scope, each)
            for name, (field, scope, each) in FIELDS.items() if hasattr(n, field)
        ]  # fmt: skip

    def ask(self, name: str, function: str, *arguments: Untyped) -> Untyped:
        """The library's answer; None where this device has none. name: what it is the answer for."""
        question = (name, function)
        if question in self._never:
            return None
        try:
            answer = getattr(self.nvml, function)(self.handle, *arguments)
        except self.nvml.NVMLError as error:
            self.failed(name, error, question)
            return None
        self.absent.pop(name, None)
        return answer

    def failed(self, name: str, error: Untyped, question: object) -> None:
        """Keep the reason."""
        if error.value in self._lost:
            raise ProbeLost(f"device {self._rank}: {error}") from error
        self.absent[name] = str(error)
        if error.value in self._final:
            self._never.add(question)

    def fields(self) -> dict[str, float]:
        """The fields that this device answers, in base units."""
        asked = [one for one in self._fields if one[0] not in self._never]
        answers = self.ask("fields", "nvmlDeviceGetFieldValues", [one[1:3] for one in asked]) if asked else None
        values: dict[str, float] = {}
        for (name, _, _, each), answer in zip(asked, answers or (), strict=False):
            if answer.nvmlReturn == 0:
                values[name] = float(getattr(answer.value, VALUES[answer.valueType])) * each
                self.absent.pop(name, None)
            else:
                self.failed(name, self.nvml.NVMLError(answer.nvmlReturn), name)
        return values


class XidErrors:
    """XID errors that the driver reports while it is watched: `count`, and the number of the last one.

    They come as events; one that came before is not told. Several processes may watch one device.
    """

    def __init__(self, questions: Questions) -> None:
        self._questions, self._nvml = questions, questions.nvml
        self._set: Untyped = None
        self._count, self._last = 0, 0
        kind = self._nvml.nvmlEventTypeXidCriticalError
        try:
            self._set = self._nvml.nvmlEventSetCreate()
            self._nvml.nvmlDeviceRegisterEvents(questions.handle, kind, self._set)
        except self._nvml.NVMLError as error:
            self.close()
            questions.failed("xid_errors", error, "events")

    def read(self) -> dict[str, float]:
        """'xid_errors' (count) and, once there was one, 'xid'; never waits."""
        if self._set is None:
            return {}
        for _ in range(64):  # of one reading; what is left waits for the next
            try:
                event = self._nvml.nvmlEventSetWait_v2(self._set, 0)
            except self._nvml.NVMLError as error:
                if error.value != self._nvml.NVML_ERROR_TIMEOUT:
                    self._questions.failed("xid_errors", error, "events")
                break
            if event.eventType & self._nvml.nvmlEventTypeXidCriticalError:
                self._count, self._last = self._count + 1, int(event.eventData)
        return {"xid_errors": float(self._count)} | ({"xid": float(self._last)} if self._count else {})

    def close(self) -> None:
        if self._set is not None:
            self._nvml.nvmlEventSetFree(self._set)
            self._set = None
