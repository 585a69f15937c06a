"""The run card (run.json): what ran, on what, how fast, and how it ended."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from sketch_jax.run.programs import abstract_state
from sketch_jax.run.setting import Setting
from sketch_jax.run.training import Trained
from sketch_jax.train.compile import Compiled
from sketch_jax.train.devices import device_peak_flops
from sketch_jax.train.environment import environment_facts, peak_memory_bytes
from sketch_jax.train.loop import Outcome
from sketch_jax.train.run_directory import read_run_card, write_run_card
from sketch_jax.trees import count_elements

SPEED_FACTS = (
    *("steps", "steps_taken", "compile_seconds", "step_flops", "step_peak_bytes"),
    *("images_per_second", "data_wait_share", "mfu"),
)
"""Written when a start ends."""


@dataclasses.dataclass(kw_only=True)
class Card:
    """The card of one start of a run, kept up to date on disk."""

    setting: Setting
    began: float
    """`time.perf_counter()` at the start of the command."""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    earlier_seconds: float = 0.0
    """Wall time of earlier starts of the same run."""
    earlier_speed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Figures of the last start that ended: those of a run that is started again after its end."""

    def open(self) -> None:
        """Writes what is known before training."""
        setting = self.setting
        earlier = read_run_card(setting.directory)
        self.earlier_seconds = earlier.get("wall_seconds") or 0.0
        self.earlier_speed = {name: earlier[name] for name in SPEED_FACTS if name in earlier}
        self.facts = {
            "name": setting.config.name,
            "seed": setting.config.seed,
            **environment_facts(),
            "data": {
                "fingerprint": setting.data.fingerprint,
                "classes": len(setting.data.dataset.train.class_names),
                "train": len(setting.data.train_rows),
                "held_out": len(setting.data.validation_rows),
                "test": 0 if setting.data.dataset.test is None else len(setting.data.dataset.test),
                "skipped": dict(setting.data.dataset.skipped),
            },
            "model": setting.start.model.name,
            "weights": list(setting.start.weights),
            "parameters": parameter_counts(setting),
            "compute_dtype": setting.start.compute_dtype.name,
        }
        self.write("running")

    def write(self, status: str, **facts: Any) -> None:
        """Adds facts and replaces the file.

        Args:
            status: `running`, `finished`, `interrupted` or `failed`.
            **facts: JSON values.
        """
        self.facts |= {"status": status, **facts}
        self.facts["wall_seconds"] = self.earlier_seconds + time.perf_counter() - self.began
        self.facts["peak_bytes"] = peak_memory_bytes()
        write_run_card(self.setting.directory, self.facts)


def parameter_counts(setting: Setting) -> Mapping[str, int]:
    """Parameters of the model, and those that the last phase trains, factors of low-rank changes included."""
    last = abstract_state(setting, setting.phases[-1])
    return {"total": count_elements(setting.start.params), "trainable": count_elements(last.trainable)}


def speed_facts(setting: Setting, trained: Trained) -> Mapping[str, Any]:
    """Figures of the loop of this start; nothing where it took no step."""
    outcome, programs = trained.outcome, trained.programs
    seconds, steps = outcome.training_seconds, outcome.steps_taken
    if programs.train is None or not steps:
        return {}
    return {
        "steps": setting.plan.steps,
        "steps_taken": steps,
        "compile_seconds": trained.compile_seconds,
        "step_flops": programs.train.flops,
        "step_peak_bytes": programs.train.peak_bytes,
        "images_per_second": steps * setting.plan.batch_size / seconds,
        "data_wait_share": trained.waited_seconds / seconds,
        "mfu": model_flops_utilisation(setting, programs.train, outcome),
    }


def model_flops_utilisation(setting: Setting, program: Compiled, outcome: Outcome) -> float | None:
    """Share of the devices' peak that the steps used (MFU).

    None where the peak is not known, under remat, which computes more than the model's, and where several
    programs trained.
    """
    devices = setting.mesh.devices
    peak = device_peak_flops(devices.flat[0].device_kind, setting.start.compute_dtype.name)
    several_sizes = len(setting.at_size) > 1
    if peak is None or setting.config.model.remat != "none" or len(setting.phases) > 1 or several_sizes:
        return None
    return program.flops * outcome.steps_taken / outcome.training_seconds / (peak * devices.size)
