"""Families of metrics that exporters write, by name, and what each becomes in base units.

Sources: the DCGM field identifiers and etc/*.csv of NVIDIA/dcgm-exporter; docs/configuration/metricslist.md of
ROCm/device-metrics-exporter; the collectors of prometheus/node_exporter. A family whose unit these do not agree on
(bytes over PCIe of dcgm-exporter, xGMI of AMD's) is left out, and so counted as unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from clusters.accelerators import nvml

DEVICE, HOST, PORT = "telemetry.device", "telemetry.host", "telemetry.nic"
MEGA, MIB = 1e6, 2.0**20
BLANK = 140737488355328.0, 9223372036854775792.0
"""DCGM's own words for 'no value', as a number and as a whole number (dcgm_structs.h); next to each are the codes for
not found, not supported and no permission."""


@dataclass(frozen=True)
class Family:
    """metric: its name in a record. each: base units in one of the exporter's. several: what is made of samples that
    only differ in a link, a die or a CPU. where: labels, and the values that are meant."""

    benchmark: str
    metric: str
    each: float = 1.0
    several: Literal["sum", "mean", "last"] = "last"
    where: Mapping[str, tuple[str, ...]] | None = None

    def means(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(label) in accepted for label, accepted in (self.where or {}).items())


def _device(**metrics: tuple[str, float]) -> dict[str, tuple[Family, ...]]:
    return {name: (Family(DEVICE, metric, each),) for name, (metric, each) in metrics.items()}


DCGM = _device(
    DCGM_FI_DEV_SM_CLOCK=("clock", MEGA),
    DCGM_FI_DEV_MEM_CLOCK=("memory_clock", MEGA),
    DCGM_FI_DEV_GPU_TEMP=("temperature", 1.0),
    DCGM_FI_DEV_MEMORY_TEMP=("memory_temperature", 1.0),
    DCGM_FI_DEV_POWER_USAGE=("power", 1.0),
    DCGM_FI_DEV_ENFORCED_POWER_LIMIT=("power_limit", 1.0),
    DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION=("energy", 1e-3),
    DCGM_FI_DEV_GPU_UTIL=("utilisation", 0.01),
    DCGM_FI_DEV_MEM_COPY_UTIL=("memory_utilisation", 0.01),
    DCGM_FI_PROF_GR_ENGINE_ACTIVE=("engine_active", 1.0),
    DCGM_FI_PROF_SM_ACTIVE=("sm_active", 1.0),
    DCGM_FI_PROF_SM_OCCUPANCY=("sm_occupancy", 1.0),
    DCGM_FI_PROF_PIPE_TENSOR_ACTIVE=("tensor_active", 1.0),
    DCGM_FI_PROF_DRAM_ACTIVE=("memory_active", 1.0),
    DCGM_FI_DEV_FB_USED=("memory_used", MIB),
    DCGM_FI_DEV_FB_FREE=("memory_free", MIB),
    DCGM_FI_DEV_XID_ERRORS=("xid", 1.0),
    DCGM_FI_DEV_ECC_DBE_VOL_TOTAL=("ecc", 1.0),
    DCGM_FI_DEV_ECC_SBE_VOL_TOTAL=("ecc_corrected", 1.0),
    DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS=("remapped_rows", 1.0),
    DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS=("remapped_rows_corrected", 1.0),
    DCGM_FI_DEV_PCIE_REPLAY_COUNTER=("pcie_replays", 1.0),
    DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL=("nvlink_crc_errors", 1.0),
    DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL=("nvlink_replays", 1.0),
    DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL=("nvlink_recoveries", 1.0),
    DCGM_FI_DEV_CLOCK_THROTTLE_REASONS=("reasons", 1.0),
    DCGM_FI_DEV_CLOCKS_EVENT_REASONS=("reasons", 1.0),
)
AMD = _device(
    gpu_package_power=("power", 1.0),
    gpu_average_package_power=("power", 1.0),
    gpu_energy_consumed=("energy", 1e-6),
    gpu_junction_temperature=("temperature", 1.0),
    gpu_edge_temperature=("edge_temperature", 1.0),
    gpu_memory_temperature=("memory_temperature", 1.0),
    gpu_gfx_activity=("utilisation", 0.01),
    gpu_umc_activity=("memory_utilisation", 0.01),
    gpu_used_vram=("memory_used", MIB),
    gpu_free_vram=("memory_free", MIB),
    gpu_ecc_uncorrect_total=("ecc", 1.0),
    gpu_ecc_correct_total=("ecc_corrected", 1.0),
    pcie_replay_count=("pcie_replays", 1.0),
    pcie_recovery_count=("pcie_recoveries", 1.0),
    pcie_nack_sent_count=("pcie_naks_sent", 1.0),
    pcie_nack_received_count=("pcie_naks_received", 1.0),
) | {
    "gpu_clock": (
        Family(DEVICE, "clock", MEGA, "mean", {"clock_type": ("system", "GPU_CLOCK_TYPE_SYSTEM")}),
        Family(DEVICE, "memory_clock", MEGA, "mean", {"clock_type": ("memory", "GPU_CLOCK_TYPE_MEMORY")}),
    ),
}  # fmt: skip
NODE: dict[str, tuple[Family, ...]] = {
    "node_load1": (Family(HOST, "load"),),
    "node_memory_MemAvailable_bytes": (Family(HOST, "memory_free"),),
    "node_memory_SwapFree_bytes": (Family(HOST, "swap_free"),),
    "node_cpu_seconds_total": tuple(
        Family(HOST, f"cpu_{mode}", 1.0, "sum", {"mode": (mode,)})
        for mode in ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    ),
    "node_cpu_scaling_frequency_hertz": (Family(HOST, "clock", 1.0, "mean"),),
    "node_rapl_package_joules_total": (Family(HOST, "energy", 1.0, "sum"),),
    "node_memory_numa_numa_hit_total": (Family(HOST, "numa_hits", 1.0, "sum"),),
    "node_memory_numa_numa_miss_total": (Family(HOST, "numa_misses", 1.0, "sum"),),
} | {
    f"node_infiniband_{family}": (Family(PORT, metric),)
    for family, metric in {
        "port_data_transmitted_bytes_total": "sent",
        "port_data_received_bytes_total": "received",
        "port_transmit_wait_total": "transmit_wait",
        "port_discards_transmitted_total": "transmit_discards",
        "port_errors_received_total": "receive_errors",
        "link_error_recovery_total": "link_recoveries",
        "link_downed_total": "link_downed",
        "rate_bytes_per_second": "rate",
    }.items()
}  # fmt: skip
FAMILIES = DCGM | AMD | NODE


def known(name: str, labels: Mapping[str, str]) -> Family | None:
    """What a sample is; the parser writes '_total' at the end of every counter's name."""
    families = FAMILIES.get(name) or FAMILIES.get(name.removesuffix("_total")) or ()
    return next((family for family in families if family.means(labels)), None)


def blank(name: str, value: float) -> bool:
    """Whether DCGM's exporter passed on one of the codes that stand for no value."""
    return name.startswith("DCGM_") and (BLANK[0] <= value < BLANK[0] + 16 or value >= BLANK[1])


def told(metric: str, value: float) -> dict[str, float]:
    """Bits of reasons for a lower clock, which are NVML's, as our own; anything else as it is."""
    if metric != "reasons":
        return {metric: value}
    reasons = int(value)
    return {"throttle": float(nvml.throttle(reasons)), "power_cap": float(bool(reasons & nvml.POWER_CAP))}


Combine = Callable[[list[float]], float]
COMBINED: dict[str, Combine] = {
    "sum": sum,
    "mean": lambda values: sum(values) / len(values),
    "last": lambda values: values[-1],
}
