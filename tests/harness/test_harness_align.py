"""What stands between a barrier of gloo and the operation that is timed after it."""

from __future__ import annotations

from harness import ranks


def test_the_barrier_is_passed_first_and_then_a_moment_awake(monkeypatch) -> None:
    seen, clock = [], iter([0.0, ranks.CALM / 2, ranks.CALM])

    def now() -> float:
        seen.append(next(clock))
        return seen[-1]

    monkeypatch.setattr(ranks, "perf_counter", now)
    ranks._calm(lambda: seen.append("barrier"))
    assert seen == ["barrier", 0.0, ranks.CALM / 2, ranks.CALM]
