"""The metrics of predictions, by name (imports nothing heavy, so that `--help` starts fast)."""

from collections.abc import Mapping
from typing import Literal

Metric = Literal[
    "accuracy",
    "top5_accuracy",
    "balanced_accuracy",
    "worst_recall",
    "macro_f1",
    "loss",
    "expected_calibration_error",
]

HIGHER_IS_BETTER: Mapping[Metric, bool] = {
    "accuracy": True,
    "top5_accuracy": True,
    "balanced_accuracy": True,
    "worst_recall": True,
    "macro_f1": True,
    "loss": False,
    "expected_calibration_error": False,
}
"""Whether the better of two values is the higher one."""
