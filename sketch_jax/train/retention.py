"""Which checkpoints stay: the last few and the best."""

from collections.abc import Mapping


def ranked(metrics: Mapping[int, float | None], higher_is_better: bool) -> list[int]:
    """Steps, best first; of equal metrics the later first; those without a metric come last, newest first.

    >>> ranked({10: 0.5, 20: None, 30: 0.7, 40: 0.7}, True)
    [40, 30, 10, 20]
    """
    sign = -1.0 if higher_is_better else 1.0
    measured = sorted((sign * metric, -step) for step, metric in metrics.items() if metric is not None)
    unmeasured = sorted((step for step, metric in metrics.items() if metric is None), reverse=True)
    return [-step for _, step in measured] + unmeasured


def best_step(metrics: Mapping[int, float | None], higher_is_better: bool) -> int | None:
    """The latest step with the best metric; None: none has a metric.

    >>> best_step({10: 0.5, 20: None, 30: 0.2}, False)
    30
    """
    first = next(iter(ranked(metrics, higher_is_better)), None)
    return first if first is not None and metrics[first] is not None else None


def kept_steps(metrics: Mapping[int, float | None], keep_last: int, higher_is_better: bool) -> set[int]:
    """Steps whose checkpoints stay.

    >>> sorted(kept_steps({10: 0.9, 20: 0.5, 30: 0.6, 40: None}, 2, True))
    [10, 30, 40]
    """
    best = best_step(metrics, higher_is_better)
    return set(sorted(metrics)[-keep_last:]) | ({best} if best is not None else set())
