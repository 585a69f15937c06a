"""Soups of finished runs: one model whose parameters are means of theirs, as a run of its own."""

import dataclasses
import functools
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from sketch_jax.config import Config, config_to_json
from sketch_jax.ensemble.soups import (
    Leaves,
    greedy_soup,
    learn_soup,
    mix,
    uniform_soup,
)
from sketch_jax.errors import InputError
from sketch_jax.files import make_directory, write_atomically
from sketch_jax.flows.ensemble import table_lines
from sketch_jax.flows.finished import Finished
from sketch_jax.flows.soup_diagnosis import (
    Pot,
    SoupOptions,
    diagnose,
    open_pot,
    refuse_few,
    refuse_seen,
    sort_out,
    sort_out_starts,
)
from sketch_jax.flows.soup_members import SoupMember, find_members
from sketch_jax.flows.tasting import STATISTICS, TRAINABLE, leaves_below
from sketch_jax.run import run
from sketch_jax.run.programs import phase_optimizer
from sketch_jax.run.record import model_record
from sketch_jax.run.setting import prepare
from sketch_jax.train.checkpoints import Checkpoints
from sketch_jax.train.host_memory import keep_freed_memory
from sketch_jax.train.options import Selection
from sketch_jax.train.program_cache import keep_compiled_programs
from sketch_jax.train.run_directory import CHECKPOINTS_NAME, CONFIG_NAME, DUPLICATES_NAME, SPLIT_NAME
from sketch_jax.train.state import create_state
from sketch_jax.trees import flatten, separate

SOUP_NAME = "soup.json"


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
    held_out = set.intersection(*(member.held_out() for member in members))
    pot = open_pot(options, members[0], held_out, console)
    members, elsewhere = sort_out_starts(pot, members)
    refuse_few(options, members)
    refuse_seen(pot, members)
    facts = diagnose(pot, members) | {"left_out": left_out | elsewhere}
    cooked = cook(pot, members, facts)
    metrics = pot.tasting.metrics(cooked.leaves)
    facts |= {"method": options.method, **cooked.facts, "soup": dict(metrics)}
    facts["measured_on"] = {"images": len(pot.tasting.rows), "held_out": pot.tasting.held_out}
    _tell(pot, facts)
    write_run(pot, cooked.leaves, metrics, facts)
    return facts | {"run": str(options.output)}


class Cooked(NamedTuple):
    """A soup and how it came about."""

    leaves: Leaves
    """With statistics of its own, where it is more than one member as it is."""
    facts: Mapping[str, Any]


def cook(pot: Pot, members: Sequence[SoupMember], facts: Mapping[str, Any]) -> Cooked:
    """The averaged leaves, and what was chosen."""
    options = pot.options
    match options.method:
        case "uniform":
            return Cooked(
                pot.tasting.measure_statistics(uniform_soup([member.load for member in members])), {}
            )
        case "greedy":
            return _cook_greedily(pot, members, facts)
        case "learned":
            learnt = learn_soup(
                [member.load for member in members],
                pot.tasting.loss_and_gradient,
                pot.layer_of,
                options.learning,
            )
            weights = {member.name: row.tolist() for member, row in zip(members, learnt.weights, strict=True)}
            soup = pot.tasting.measure_statistics(learnt.leaves)
            return Cooked(soup, {"weights_by_layer": weights, "losses": list(learnt.losses)})
        case _:
            return _cook_between(pot, members[0])


def _cook_greedily(pot: Pot, members: Sequence[SoupMember], facts: Mapping[str, Any]) -> Cooked:
    scores = {member.name: pot.score(facts["members"][member.name]) for member in members}
    ranked = sorted(members, key=lambda member: -scores[member.name])
    found = greedy_soup(
        [member.load for member in ranked],
        lambda leaves: pot.score(pot.taste(leaves)),
        pot.options.passes,
        first_score=scores[ranked[0].name],
    )
    alone = len(found.chosen) == 1
    leaves = found.leaves if alone else pot.tasting.measure_statistics(found.leaves)
    return Cooked(leaves, {"chosen": [ranked[index].name for index in found.chosen]})


def _cook_between(pot: Pot, member: SoupMember) -> Cooked:
    """The best place between the start and the tuned model, which is taken as it is."""
    tuned, start = member.load(), _start_leaves(pot.finished)

    def at(share: float) -> Leaves:
        return tuned if share == 1.0 else pot.tasting.measure_statistics(mix(start, tuned, share))

    tried = {share: pot.tasting.metrics(at(share)) for share in pot.options.shares}
    columns = {name: [metrics[name] for metrics in tried.values()] for name in ("accuracy", "loss")}
    pot.console.print("\n".join(["", *table_lines([f"{share:g}" for share in tried], columns)]), markup=False)
    best = max(tried, key=lambda share: pot.score(tried[share]))
    facts = {"share": best, "tried": {f"{share:g}": dict(metrics) for share, metrics in tried.items()}}
    return Cooked(at(best), facts)


def write_run(pot: Pot, soup: Leaves, metrics: Mapping[str, float], facts: Mapping[str, Any]) -> None:
    """Writes the soup as a run that is over, and lets it predict.

    Where some member was trained on images that the first held out, the run holds nothing out.
    """
    output, first = pot.options.output, pot.finished.setting
    all_unseen = pot.tasting.held_out and len(pot.tasting.rows) == len(first.data.validation_rows)
    config = soup_config(first.config, output, train_on_all=not all_unseen)
    make_directory(output)
    if all_unseen:
        for name in (SPLIT_NAME, DUPLICATES_NAME):
            if (first.directory / name).is_file():
                shutil.copyfile(first.directory / name, output / name)
    write_atomically(output / CONFIG_NAME, json.dumps(config_to_json(config), indent=2) + "\n")
    write_atomically(output / SOUP_NAME, json.dumps(facts, indent=2) + "\n")
    setting = prepare(config, pot.console)
    trainable, statistics = jax.device_put([leaves_below(soup, part) for part in (TRAINABLE, STATISTICS)])
    optimizer = phase_optimizer(setting, setting.phases[-1])
    state = create_state(trainable, statistics, optimizer, step=setting.plan.steps)
    with Checkpoints(
        output / CHECKPOINTS_NAME,
        report=functools.partial(pot.console.print, markup=False),
        record=model_record(setting),
    ) as checkpoints:
        metric = metrics[setting.config.selection.metric] if all_unseen else None
        checkpoints.save(setting.plan.steps, state, metric=metric)
    run(config, pot.console)


def soup_config(config: Config, output: Path, train_on_all: bool) -> Config:
    """The configuration of the run that a soup becomes: nothing is left to train."""
    unmeasured: dict[str, Any] = {"selection": Selection()} if train_on_all else {}
    return dataclasses.replace(
        config, name=output.name, output_dir=str(output), averaging=None,
        train_on_all=train_on_all or config.train_on_all, **unmeasured,
    )  # fmt: skip


def _tell(pot: Pot, facts: Mapping[str, Any]) -> None:
    best = max(facts["members"].values(), key=pot.score)
    kept = f", of {', '.join(facts['chosen'])}" if "chosen" in facts else ""
    where = "images that no member saw" if pot.tasting.held_out else "training images: no estimate of others"
    chosen = pot.tasting.held_out and pot.options.method != "uniform"
    pot.console.print(
        f"\n{pot.options.method} soup{kept}: accuracy {facts['soup']['accuracy']:.4f}, "
        f"loss {facts['soup']['loss']:.4f} on {len(pot.tasting.rows):,} {where} (best member "
        f"{best['accuracy']:.4f}, {best['loss']:.4f})"
        + ("; it was chosen by these very images\n" if chosen else "\n"),
        markup=False,
    )


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
