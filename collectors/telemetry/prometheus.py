"""A Prometheus endpoint as a source: NVIDIA's DCGM exporter, AMD's device metrics exporter, the node exporter.

Families are known by name, with the exporter's own unit (DCGM field identifiers; ROCm/device-metrics-exporter;
prometheus/node_exporter); what is not known is counted, never guessed.
"""

from __future__ import annotations

import math
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.errors import UsageError

LARGEST = 32 * 2**20  # B of one answer
TIMEOUT = 5.0  # s
FAMILIES: dict[str, tuple[str, float]] = {
    "DCGM_FI_DEV_SM_CLOCK": ("clock", 1e6),
    "DCGM_FI_DEV_MEM_CLOCK": ("memory_clock", 1e6),
    "DCGM_FI_DEV_GPU_TEMP": ("temperature", 1.0),
    "DCGM_FI_DEV_MEMORY_TEMP": ("memory_temperature", 1.0),
    "DCGM_FI_DEV_POWER_USAGE": ("power", 1.0),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("energy", 1e-3),
    "DCGM_FI_DEV_GPU_UTIL": ("utilisation", 0.01),
    "DCGM_FI_DEV_FB_USED": ("memory_used", 2.0**20),
    "DCGM_FI_DEV_FB_FREE": ("memory_free", 2.0**20),
    "DCGM_FI_DEV_XID_ERRORS": ("xid", 1.0),
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": ("ecc", 1.0),
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": ("ecc_corrected", 1.0),
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": ("pcie_replays", 1.0),
    "gpu_package_power": ("power", 1.0),
    "gpu_junction_temperature": ("temperature", 1.0),
    "gpu_memory_temperature": ("memory_temperature", 1.0),
    "gpu_gfx_activity": ("utilisation", 0.01),
    "gpu_used_vram": ("memory_used", 2.0**20),
    "gpu_free_vram": ("memory_free", 2.0**20),
    "gpu_energy_consumed": ("energy", 1e-6),
    "gpu_ecc_uncorrect_total": ("ecc", 1.0),
    "gpu_ecc_correct_total": ("ecc_corrected", 1.0),
    "node_load1": ("load", 1.0),
    "node_memory_MemAvailable_bytes": ("memory_free", 1.0),
}
LABELS = ("Hostname", "hostname", "instance")
DEVICES = ("gpu", "gpu_id", "GPU_ID")


@dataclass(frozen=True)
class Answer:
    """Values by (host, device), and how many families nobody knows."""

    values: Mapping[tuple[str, str], Mapping[str, float]]
    unknown: int


def fetch(url: str) -> str:
    """The text at a URL; UsageError says why there is none."""
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--from '{url}': accepted is http://HOST:PORT/metrics or https://")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 (http and https only, checked above)
            data: bytes = answer.read(LARGEST + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise UsageError(
            f"--from '{url}': {getattr(error, 'reason', error)}. Is the exporter running there?"
        ) from error
    if len(data) > LARGEST:
        raise UsageError(f"--from '{url}': more than {LARGEST >> 20} MiB in one answer: that is no exporter")
    return data.decode(errors="replace")


def read(text: str, url: str) -> Answer:
    """What an exporter's answer says; UsageError where it is none."""
    values: dict[tuple[str, str], dict[str, float]] = {}
    unknown = 0
    for family in _families(text, url):
        for sample in family:
            name, labels, value = sample
            known = FAMILIES.get(name) or FAMILIES.get(name.removesuffix("_total"))  # the parser's name of a counter
            if known is None:
                unknown += 1
            elif math.isfinite(value):
                metric, scale = known
                host = next((labels[label] for label in LABELS if label in labels), url)
                device = next((labels[label] for label in DEVICES if label in labels), "")
                values.setdefault((host, device), {})[metric] = value * scale
    return Answer(values, unknown)


def _families(text: str, url: str) -> Iterator[list[tuple[str, dict[str, str], float]]]:
    from prometheus_client.parser import text_string_to_metric_families

    try:
        for family in text_string_to_metric_families(text):
            yield [(sample.name, sample.labels, sample.value) for sample in family.samples]
    except Exception as error:  # the parser raises whatever its text leads to
        raise UsageError(f"--from '{url}': no text of Prometheus: {type(error).__name__}: {error}") from error
