"""How long and how carefully a cell is measured (METHOD 4-8): numbers only, no behaviour."""

from __future__ import annotations

from harness.records import Struct


class Policy(Struct, frozen=True):
    """Limits of one visit to a cell. Counts are of samples unless said otherwise; times in s."""

    width: float = 0.02  # wanted relative half width of the median's 95 % interval
    latency_width: float = 0.05  # the same where one operation is shorter than `latency`
    latency: float = 100e-6
    minimum: int = 10  # samples before the first look
    maximum: int = 2000
    cap: float = 2.0  # wall time of one visit, per cadence; warm-up and buffers not counted
    warmup_minimum: int = 3  # operations
    warmup_maximum: int = 500
    warmup_cap: float = 1.0
    block: float = 0.02  # wall time aimed at between two looks
    resolutions: int = 50  # a sample lasts at least this many timer resolutions
    remeasure: int = 5  # disturbed blocks that are measured again, per cadence
    steal: float = 0.05  # share of CPU time stolen by the hypervisor that taints a block

    def wanted(self, each: float) -> float:
        """The relative half width to reach where one operation takes `each` s."""
        return self.latency_width if each < self.latency else self.width
