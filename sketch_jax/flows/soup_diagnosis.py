"""What is looked at before parameters are averaged: whether members go together, how far apart they are."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from sketch_jax.ensemble.soups import (
    Learning,
    Leaves,
    layer_distances,
    measure_barrier,
)
from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.flows.ensemble import table_lines
from sketch_jax.flows.finished import Finished, read_run_config
from sketch_jax.flows.soup_members import SoupMember, faults_of, starts_elsewhere
from sketch_jax.flows.tasting import STATISTICS, TRAINABLE, Tasting, make_tasting
from sketch_jax.metric_names import HIGHER_IS_BETTER
from sketch_jax.models.layer_numbers import layer_of, number_layers
from sketch_jax.run.phases import phase_of_state
from sketch_jax.run.programs import frozen_of
from sketch_jax.run.record import model_record
from sketch_jax.run.setting import prepare
from sketch_jax.train.differences import differences
from sketch_jax.trees import flatten

Method = Literal["uniform", "greedy", "learned", "wise-ft"]
HIGH_BARRIER = 0.1
"""Nats above the line between two models from which on their mean is no good; told, not refused."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoupOptions:
    """What is averaged, and how."""

    members: tuple[Path, ...]
    """Runs, cross-validations, `RUN/checkpoints`, or `RUN/checkpoints/STEP`."""
    output: Path
    """Directory of the run that the soup becomes."""
    method: Method
    passes: int
    """Of `greedy`: how often all that are not in the soup are gone through."""
    learning: Learning
    """Of `learned`: for how long, and how fast."""
    shares: tuple[float, ...]
    """Of `wise-ft`: places between the start (0) and the tuned model (1) that are tried."""
    leave_out: bool
    """Whether members that do not go together with the first are left out instead of refused."""
    highest_barrier: float = 0.0
    """Nats that the loss may rise between the first and a member of another start; 0: none is taken."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pot:
    """What soups are cooked with."""

    options: SoupOptions
    finished: Finished
    """The first member."""
    tasting: Tasting
    layer_of: Callable[[str], int]
    console: Console

    def taste(self, leaves: Leaves) -> Mapping[str, float]:
        """Metrics of leaves whose statistics are measured anew."""
        return self.tasting.metrics(self.tasting.measure_statistics(leaves))

    def score(self, metrics: Mapping[str, float]) -> float:
        """The metric by which the run chose its checkpoint; the higher, the better."""
        name = self.finished.setting.config.selection.metric
        return metrics[name] if HIGHER_IS_BETTER[name] else -metrics[name]


def sort_out(
    members: Sequence[SoupMember], options: SoupOptions, console: Console
) -> tuple[Sequence[SoupMember], dict[str, str]]:
    """The members that are like the first, and why the others are left out.

    Raises:
        InputError: some are not, and none may be left out.
    """
    faults = {member.name: fault for member in members[1:] if (fault := faults_of(members[0], member))}
    told = [f"{name}: {fault}" for name, fault in faults.items()]
    if not options.leave_out:
        refuse_faults(
            "members whose parameters cannot be averaged", told,
            "average runs of one configuration, or leave such members out by --leave-out",
        )  # fmt: skip
    for line in told:
        console.print(f"left out: {line}", markup=False)
    return [member for member in members if member.name not in faults], faults


def open_pot(options: SoupOptions, first: SoupMember, held_out: set[str], console: Console) -> Pot:
    """Opens the first member, with its blocks as they lie on disk.

    Args:
        options: what to do.
        first: of the members.
        held_out: ids of the images that no member was trained on.
        console: for progress.

    Raises:
        InputError: data or start weights are not those of the member's training, or what it trained cannot be
            averaged.
    """
    config = read_run_config(first.directory)
    model = dataclasses.replace(config.model, scan_blocks=False)
    setting = prepare(dataclasses.replace(config, model=model), console)
    refuse_faults(
        f"{first.found.path}: was made with other values; then → now",
        [
            f"{path}: {change}"
            for path, change in differences(first.found.record, model_record(setting)).items()
        ],
        "put the data and the start weights of its training back",
    )
    phase = phase_of_state(setting.phases, first.step)
    if phase.division.low_rank is not None:
        raise InputError(
            f"{first.name}: trains low-rank factors, whose mean is not the mean of what they change; combine "
            "the predictions of such runs by scripts/ensemble.py"
        )
    if phase is not setting.phases[-1]:
        raise InputError(
            f"{first.name}: is a checkpoint of an earlier stage of its tuning; name one of the last stage"
        )
    finished = Finished(
        setting=setting,
        phase=phase,
        trainable={},
        frozen=frozen_of(setting, phase),
        statistics=setting.start.statistics,
    )
    layers = number_layers(finished.setting.start.model.name, list(flatten(finished.setting.start.params)))

    def layer(path: str) -> int:
        return layer_of(layers, path.removeprefix(TRAINABLE).removeprefix(STATISTICS))

    tasting = make_tasting(finished, held_out)
    return Pot(options=options, finished=finished, tasting=tasting, layer_of=layer, console=console)


def sort_out_starts(pot: Pot, members: Sequence[SoupMember]) -> tuple[Sequence[SoupMember], dict[str, str]]:
    """The members that began where the first did, and why the others are left out.

    Raises:
        InputError: some did not; the barrier between them and the first is measured and told.
    """
    makes_new = any("newly made" in line for line in pot.finished.setting.start.weights)
    faults = {}
    for stranger in [member for member in members if starts_elsewhere(members[0], member, makes_new)]:
        barrier = _barrier(pot, members[0].load(), stranger.load())
        if pot.options.highest_barrier > 0.0 and barrier <= pot.options.highest_barrier:
            continue
        faults[stranger.name] = (
            f"began with {stranger.start}, {members[0].name} with {members[0].start}; on the line between "
            f"them the loss rises {barrier:.3f} nats above that of its ends"
        )
    told = [f"{name}: {fault}" for name, fault in faults.items()]
    if not pot.options.leave_out:
        refuse_faults(
            "members that began with other parameters than the first", told,
            "average runs of one start, combine the others by scripts/ensemble.py, leave them out by "
            "--leave-out, or take those with a low barrier by --highest-barrier",
        )  # fmt: skip
    for line in told:
        pot.console.print(f"left out: {line}", markup=False)
    return [member for member in members if member.name not in faults], faults


def diagnose(pot: Pot, members: Sequence[SoupMember]) -> dict[str, Any]:
    """Prints how good each member is, how far it is from the first, and how high the barrier between them."""
    first = members[0].load()
    facts: dict[str, dict[str, Any]] = {}
    for number, member in enumerate(members, 1):
        pot.console.print(f"looking at {member.name}: {number} of {len(members)}", markup=False)
        leaves = member.load()
        metrics = pot.tasting.metrics(leaves)
        apart = layer_distances(_trainable(first), _trainable(leaves), pot.layer_of)
        facts[member.name] = {
            **metrics,
            "barrier": 0.0 if number == 1 else _barrier(pot, first, leaves),
            "distance_by_layer": {str(layer): value for layer, value in apart.items()},
        }
    columns = {
        "accuracy": [each["accuracy"] for each in facts.values()],
        "loss": [each["loss"] for each in facts.values()],
        "barrier": [each["barrier"] for each in facts.values()],
        "distance": [float(np.mean(list(each["distance_by_layer"].values()))) for each in facts.values()],
    }
    pot.console.print("\n".join(["", *table_lines(list(facts), columns)]), markup=False)
    high = [name for name, each in facts.items() if each["barrier"] > HIGH_BARRIER]
    if high:
        pot.console.print(
            f"a high barrier lies between {members[0].name} and {', '.join(high)}: their mean may be worse "
            "than either",
            markup=False,
        )
    return {"members": facts}


def refuse_few(options: SoupOptions, members: Sequence[SoupMember]) -> None:
    """Refuses another number of members than the method takes.

    Raises:
        InputError: so it is.
    """
    wanted = 1 if options.method == "wise-ft" else 2
    if len(members) < wanted or (options.method == "wise-ft" and len(members) > 1):
        raise InputError(
            f"--method {options.method}: takes {'one member' if wanted == 1 else 'two members at least'}, "
            f"and there {'is' if len(members) == 1 else 'are'} {len(members)}"
        )


def refuse_seen(pot: Pot, members: Sequence[SoupMember]) -> None:
    """Refuses to choose by images that some member was trained on."""
    method = pot.options.method
    if method != "uniform" and not pot.tasting.held_out:
        raise InputError(
            f"--method {method}: chooses by images that no member was trained on, and there are none that "
            f"{' and '.join(member.name for member in members)} all held out; take --method uniform, or runs "
            "of one split"
        )


def _barrier(pot: Pot, first: Leaves, second: Leaves) -> float:
    return measure_barrier(first, second, lambda leaves: pot.taste(leaves)["loss"]).height


def _trainable(leaves: Leaves) -> dict[str, np.ndarray]:
    return {path: leaf for path, leaf in leaves.items() if path.startswith(TRAINABLE)}
