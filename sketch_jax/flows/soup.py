"""Soups of finished runs: one model whose parameters are means of theirs, as a run of its own."""

import dataclasses
import functools
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from rich.console import Console

from sketch_jax.config import Config, config_to_json
from sketch_jax.ensemble.soups import (
    Learning,
    Leaves,
    greedy_soup,
    layer_distances,
    learn_soup,
    measure_barrier,
    mix,
    uniform_soup,
)
from sketch_jax.errors import InputError, refuse_faults
from sketch_jax.files import make_directory, write_atomically
from sketch_jax.flows.ensemble import table_lines
from sketch_jax.flows.finished import Finished, open_finished, read_run_config
from sketch_jax.flows.soup_members import SoupMember, faults_of, find_members, starts_elsewhere
from sketch_jax.flows.tasting import STATISTICS, TRAINABLE, Tasting, leaves_below, make_tasting
from sketch_jax.metric_names import HIGHER_IS_BETTER
from sketch_jax.models.layer_numbers import layer_of, number_layers
from sketch_jax.run import run
from sketch_jax.run.programs import phase_optimizer
from sketch_jax.run.stages import model_record
from sketch_jax.train.checkpoints import Checkpoints
from sketch_jax.train.host_memory import keep_freed_memory
from sketch_jax.train.program_cache import keep_compiled_programs
from sketch_jax.train.run_directory import CHECKPOINTS_NAME, CONFIG_NAME, SPLIT_NAME
from sketch_jax.train.state import create_state
from sketch_jax.trees import flatten, separate

Method = Literal["uniform", "greedy", "learned", "wise-ft"]
SOUP_NAME = "soup.json"
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
    """Of `greedy`: how often members that were left out are tried again."""
    learning: Learning
    """Of `learned`: for how long, and how fast."""
    shares: tuple[float, ...]
    """Of `wise-ft`: places between the start (0) and the tuned model (1) that are tried."""
    leave_out: bool
    """Whether members that do not go together with the first are left out instead of refused."""


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


def run_soup(options: SoupOptions, console: Console) -> Mapping[str, Any]:
    """Diagnoses the members, averages them, and writes a run whose predictions are the soup's.

    Args:
        options: what to do.
        console: for progress and tables.

    Returns:
        A summary of JSON values.

    Raises:
        InputError: members that must not be averaged, with a measured barrier where they began elsewhere; or
            the output is not empty.
    """
    keep_freed_memory()
    keep_compiled_programs()
    _refuse_used(options.output)
    found = find_members(options.members)
    members, left_out = sort_out(found, options, console)
    pot = open_pot(options, members[0], console)
    members, elsewhere = sort_out_starts(pot, members)
    _refuse_few(options, members)
    _refuse_other_held_out(options, members)
    facts = diagnose(pot, members) | {"left_out": left_out | elsewhere}
    leaves, cooked = cook(pot, members, facts)
    soup = pot.tasting.measure_statistics(leaves)
    metrics = pot.tasting.metrics(soup)
    facts |= {"method": options.method, **cooked, "soup": dict(metrics)}
    _tell(pot, facts)
    write_run(pot, soup, metrics, facts)
    return facts | {"run": str(options.output)}


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


def open_pot(options: SoupOptions, first: SoupMember, console: Console) -> Pot:
    """Opens the first member, with its blocks as they lie on disk."""
    config = read_run_config(first.directory)
    model = dataclasses.replace(config.model, scan_blocks=False)
    finished = open_finished(dataclasses.replace(config, model=model), console)
    if finished.phase.division.low_rank is not None:
        raise InputError(
            f"{first.name}: trains low-rank factors, whose mean is not the mean of what they change; combine "
            "the predictions of such runs by scripts/ensemble.py"
        )
    if finished.phase is not finished.setting.phases[-1]:
        raise InputError(
            f"{first.name}: predicts with a checkpoint of an earlier stage of its tuning; name one of the "
            "last, RUN/checkpoints/STEP"
        )
    layers = number_layers(finished.setting.start.model.name, list(flatten(finished.setting.start.params)))

    def layer(path: str) -> int:
        return layer_of(layers, path.removeprefix(TRAINABLE).removeprefix(STATISTICS))

    return Pot(
        options=options, finished=finished, tasting=make_tasting(finished), layer_of=layer, console=console
    )


def sort_out_starts(pot: Pot, members: Sequence[SoupMember]) -> tuple[Sequence[SoupMember], dict[str, str]]:
    """The members that began where the first did, and why the others are left out.

    Raises:
        InputError: some did not; the barrier between them and the first is measured and told.
    """
    strangers = [member for member in members if starts_elsewhere(members[0], member)]
    faults = {}
    for stranger in strangers:
        barrier = _barrier(pot, members[0].load(), stranger.load())
        faults[stranger.name] = (
            f"began with {stranger.start}, {members[0].name} with {members[0].start}; on the line between "
            f"them the loss rises {barrier:.3f} nats above that of its ends"
        )
    told = [f"{name}: {fault}" for name, fault in faults.items()]
    if not pot.options.leave_out:
        refuse_faults(
            "members that began with other parameters than the first", told,
            "average runs of one start, combine the others by scripts/ensemble.py, or leave them out by "
            "--leave-out",
        )  # fmt: skip
    for line in told:
        pot.console.print(f"left out: {line}", markup=False)
    return [member for member in members if member not in strangers], faults


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


def cook(pot: Pot, members: Sequence[SoupMember], facts: Mapping[str, Any]) -> tuple[Leaves, dict[str, Any]]:
    """The averaged leaves, and what was chosen."""
    options = pot.options
    match options.method:
        case "uniform":
            return uniform_soup([member.load for member in members]), {}
        case "greedy":
            ranked = sorted(members, key=lambda member: -pot.score(facts["members"][member.name]))
            greedy = greedy_soup(
                [member.load for member in ranked],
                lambda leaves: pot.score(pot.taste(leaves)),
                options.passes,
            )
            return greedy.leaves, {"chosen": [ranked[index].name for index in greedy.chosen]}
        case "learned":
            learnt = learn_soup(
                [member.load for member in members],
                pot.tasting.loss_and_gradient,
                pot.layer_of,
                options.learning,
            )
            weights = {member.name: row.tolist() for member, row in zip(members, learnt.weights, strict=True)}
            return learnt.leaves, {"weights_by_layer": weights, "losses": list(learnt.losses)}
        case _:
            return _between(pot, members[0])


def _between(pot: Pot, member: SoupMember) -> tuple[Leaves, dict[str, Any]]:
    """The best place between the start and the tuned model."""
    tuned, start = member.load(), _start_leaves(pot.finished)
    tried = {share: pot.taste(mix(start, tuned, share)) for share in pot.options.shares}
    columns = {name: [metrics[name] for metrics in tried.values()] for name in ("accuracy", "loss")}
    pot.console.print("\n".join(["", *table_lines([f"{share:g}" for share in tried], columns)]), markup=False)
    best = max(tried, key=lambda share: pot.score(tried[share]))
    return mix(start, tuned, best), {"share": best, "tried": {f"{s:g}": dict(m) for s, m in tried.items()}}


def write_run(pot: Pot, soup: Leaves, metrics: Mapping[str, float], facts: Mapping[str, Any]) -> None:
    """Writes the soup as a run that is over, and lets it predict."""
    output, setting = pot.options.output, pot.finished.setting
    config = soup_config(setting.config, output)
    make_directory(output)
    if (setting.directory / SPLIT_NAME).is_file():
        shutil.copyfile(setting.directory / SPLIT_NAME, output / SPLIT_NAME)
    write_atomically(output / CONFIG_NAME, json.dumps(config_to_json(config), indent=2) + "\n")
    write_atomically(output / SOUP_NAME, json.dumps(facts, indent=2) + "\n")
    trainable, statistics = jax.device_put([leaves_below(soup, part) for part in (TRAINABLE, STATISTICS)])
    optimizer = phase_optimizer(setting, pot.finished.phase)
    state = create_state(trainable, statistics, optimizer, step=setting.plan.steps)
    with Checkpoints(
        output / CHECKPOINTS_NAME, report=functools.partial(pot.console.print, markup=False),
        record=model_record(setting),
    ) as checkpoints:  # fmt: skip
        metric = metrics[setting.config.selection.metric] if pot.tasting.held_out else None
        checkpoints.save(setting.plan.steps, state, metric=metric)
    run(config, pot.console)


def soup_config(config: Config, output: Path) -> Config:
    """The configuration of the run that a soup becomes: nothing is left to train."""
    return dataclasses.replace(config, name=output.name, output_dir=str(output), averaging=None)


def _tell(pot: Pot, facts: Mapping[str, Any]) -> None:
    best = max(facts["members"].values(), key=pot.score)
    kept = f", of {', '.join(facts['chosen'])}" if "chosen" in facts else ""
    where = "held-out images" if pot.tasting.held_out else "training images, as none are held out"
    pot.console.print(
        f"\n{pot.options.method} soup{kept}: accuracy {facts['soup']['accuracy']:.4f}, "
        f"loss {facts['soup']['loss']:.4f} on {len(pot.tasting.rows):,} {where} (best member "
        f"{best['accuracy']:.4f}, {best['loss']:.4f})\n",
        markup=False,
    )


def _barrier(pot: Pot, first: Leaves, second: Leaves) -> float:
    return measure_barrier(first, second, lambda leaves: pot.taste(leaves)["loss"]).height


def _trainable(leaves: Leaves) -> dict[str, np.ndarray]:
    return {path: leaf for path, leaf in leaves.items() if path.startswith(TRAINABLE)}


def _start_leaves(finished: Finished) -> dict[str, np.ndarray]:
    start = finished.setting.start
    trainable, _ = separate(start.params, finished.phase.division.is_trained)
    named = {TRAINABLE: trainable, STATISTICS: start.statistics}
    return {
        f"{part}{path}": np.asarray(leaf)
        for part, tree in named.items()
        for path, leaf in flatten(tree).items()
    }


def _refuse_used(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"--output {output}: is there already; name a new directory")


def _refuse_few(options: SoupOptions, members: Sequence[SoupMember]) -> None:
    wanted = 1 if options.method == "wise-ft" else 2
    if len(members) < wanted or (options.method == "wise-ft" and len(members) > 1):
        raise InputError(
            f"--method {options.method}: takes {'one member' if wanted == 1 else 'two members at least'}, "
            f"and there {'is' if len(members) == 1 else 'are'} {len(members)}"
        )


def _refuse_other_held_out(options: SoupOptions, members: Sequence[SoupMember]) -> None:
    """Refuses to choose by images that some member was trained on."""
    if options.method not in ("greedy", "learned"):
        return
    first = members[0]
    others = [
        member.name
        for member in members
        if member.config.split != first.config.split or _split(member) != _split(first)
    ]
    if members[0].config.train_on_all or others:
        reason = (
            f"{', '.join(others)} held out other images than {first.name}"
            if others
            else "nothing is held out"
        )
        raise InputError(
            f"--method {options.method}: chooses by images that no member was trained on, and {reason}; "
            "take --method uniform, or runs of one split"
        )


def _split(member: SoupMember) -> str:
    return (member.directory / SPLIT_NAME).read_text(encoding="utf-8")
