"""What a run tells its user before it begins and after it has ended."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from sketch_jax.config import Config
from sketch_jax.data.doodles import Doodles
from sketch_jax.data.sampling import Uniform
from sketch_jax.losses.options import MultiTask, Ordinal, Regression
from sketch_jax.models.tuning_options import TuningStage
from sketch_jax.optim.options import base_of
from sketch_jax.optim.schedule import is_shortened, last_rate, warmup_length
from sketch_jax.optim.schedule_options import Plateau
from sketch_jax.preprocessing import Preprocessing
from sketch_jax.run.data import class_counts
from sketch_jax.run.duplicates import pairs_text
from sketch_jax.run.phases import Phase, tuning_stages
from sketch_jax.run.programs import abstract_state, frozen_of, phase_optimizer
from sketch_jax.run.recipe_texts import recipe_texts
from sketch_jax.run.setting import Setting
from sketch_jax.tasks import SEPARATOR, Tasks, joined_names
from sketch_jax.train.options import Selection, Swa, averages_predict
from sketch_jax.train.progress import clock
from sketch_jax.trees import Tree, count_bytes, count_elements

LABEL_WIDTH = 10
HARDEST_SHOWN = 3


def opening_lines(setting: Setting) -> Sequence[str]:
    """All that a user should check before the first step."""
    config, start, plan = setting.config, setting.start, setting.plan
    devices = setting.mesh.devices
    paragraphs = {
        "run": [f"{config.name}, in {setting.directory}"],
        "data": [data_text(setting)],
        **({} if setting.data.duplicates is None else {"copies": [pairs_text(setting.data.duplicates)]}),
        "split": [split_text(setting)],
        "model": [
            f"{start.model.name} at {start.model.image_size} px: {count_elements(start.params):,} parameters"
        ],
        "images": [preprocessing_text(start.preprocessing)],
        "trained": trained_texts(setting),
        "weights": start.weights,
        "devices": [
            f"{devices.size} × {devices.flat[0].device_kind}, computing in {start.compute_dtype.name}"
        ],
        **(training_texts(setting) if plan.steps else {"training": ["none: the start weights predict"]}),
    }
    return [
        f"{name if index == 0 else '':<{LABEL_WIDTH}}{line}"
        for name, lines in paragraphs.items()
        for index, line in enumerate(lines)
    ]


def preprocessing_text(preprocessing: Preprocessing) -> str:
    """How images are made ready for the model."""
    mean, std = (
        " ".join(f"{value:.3g}" for value in values) for values in (preprocessing.mean, preprocessing.std)
    )
    return (
        f"{preprocessing.image_size} px, {preprocessing.interpolation}, {preprocessing.crop_mode} crop of "
        f"{preprocessing.crop_fraction:g}, mean {mean}, deviation {std}"
    )


def training_texts(setting: Setting) -> Mapping[str, Sequence[str]]:
    """How long training is, by which recipe, and at which rates."""
    config, plan = setting.config, setting.plan
    return {
        "training": [
            f"{counted(config.epochs, 'epoch')} × {counted(plan.steps_per_epoch, 'step')} of "
            f"{counted(plan.batch_size, 'image')} = {counted(plan.steps, 'step')}{leftover_text(setting)}",
            *size_texts(setting),
            *selection_texts(config.selection),
        ],
        **recipe_texts(config, setting.data.dataset.train.class_names),
        "rate": [rate_text(setting)],
    }


def size_texts(setting: Setting) -> Sequence[str]:
    """The image sizes that are trained at, where there are several."""
    if len(setting.sizes) == 1 and setting.sizes[0].image_size == setting.start.model.image_size:
        return []
    an_epoch = setting.plan.steps_per_epoch
    spans = [
        f"{span.image_size} px from epoch {span.first_step // an_epoch + 1} on" for span in setting.sizes
    ]
    return [f"at {', '.join(spans)}; evaluated at {setting.start.model.image_size} px"]


def selection_texts(selection: Selection) -> Sequence[str]:
    """What chooses the best checkpoint, where that is not accuracy, and when training ends early.

    >>> selection_texts(Selection(metric="macro_f1", patience=3))
    ['the best step by macro_f1', 'ends early once macro_f1 has not bettered for 3 epochs']
    """
    by = [f"the best step by {selection.metric}"] if selection.metric != Selection().metric else []
    if selection.patience is None:
        return by
    epochs = counted(selection.patience, "epoch")
    return [*by, f"ends early once {selection.metric} has not bettered for {epochs}"]


def trained_texts(setting: Setting) -> Sequence[str]:
    """What each phase trains, and the memory that its frozen parameters do without."""
    stages = tuning_stages(setting.config)
    return [
        f"{_since(phase.first_step, stage.first_epoch)}{phase_text(setting, phase, stage)}"
        for phase, stage in zip(setting.phases, stages, strict=True)
    ]


def _since(first_step: int, first_epoch: int) -> str:
    return f"from epoch {first_epoch + 1} on: " if first_step else ""


def phase_text(setting: Setting, phase: Phase, stage: TuningStage) -> str:
    """What is trained, and the memory that is saved.

    A frozen parameter has no gradient, no entry in the optimizer's state and none in averages; checkpoints
    lack its value in place of its gradient, so that they are smaller by as much.
    """
    state, total = abstract_state(setting, phase), count_elements(setting.start.params)
    trainable = count_elements(state.trainable)
    text = f"{trainable:,} of {total:,} parameters ({type(stage.tuning).__name__})"
    if not (frozen := frozen_of(setting, phase)):
        return text
    everything = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, np.float32), setting.start.params)
    saved = update_bytes(setting, phase, everything) - update_bytes(setting, phase, state.trainable)
    types = sorted({leaf.dtype.name for leaf in jax.tree.leaves(frozen)})
    kept = f"{count_elements(frozen):,} frozen, kept in {' and '.join(types)}"
    narrow = 4 * count_elements(frozen) - count_bytes(frozen)
    parts = "optimizer state" if setting.config.averaging is None else "optimizer state, averages"
    text = f"{text}; {kept}, which saves {saved / 1e6:,.1f} MB of gradients, {parts}, and in each checkpoint"
    return f"{text}; their type saves {narrow / 1e6:,.1f} MB more" if narrow else text


def update_bytes(setting: Setting, phase: Phase, trainable: Tree) -> int:
    """Memory that trained parameters take beside themselves: gradients, optimizer state, averages."""
    opt_state = jax.eval_shape(phase_optimizer(setting, phase).init, trainable)
    copies = 1 if setting.config.averaging is None else 2
    return count_bytes(opt_state) + copies * count_bytes(trainable)


def rate_text(setting: Setting) -> str:
    """How the learning rate begins, peaks and ends."""
    options, schedule, plan = setting.config.schedule, setting.schedule, setting.plan
    first, last = np.asarray(schedule(0)).item(), last_rate(options, schedule, plan.steps)
    warmup = warmup_length(options, plan.steps, plan.steps_per_epoch)
    peak = base_of(setting.config.optimizer).learning_rate
    risen = f", {peak:.3g} after {duration_text(warmup, plan.steps_per_epoch)}" if warmup else ""
    if is_shortened(options, plan.steps, plan.steps_per_epoch):
        risen += " (a tenth of the one epoch, as the warm-up does not fit)"
    if isinstance(options, Plateau):
        last_text = f"times {options.factor:g} where {options.metric} stands still"
    else:
        last_text = f"{last:.3g} at the end"
    return f"{first:.3g} at first{risen}, {last_text}"


def duration_text(steps: int, steps_per_epoch: int) -> str:
    """A duration in epochs where these are round, else in steps.

    >>> duration_text(20, 20), duration_text(10, 20), duration_text(7, 30)
    ('1 epoch', '0.5 epochs', '7 steps')
    """
    epochs = round(steps / steps_per_epoch, 2)
    return counted(epochs, "epoch") if epochs * steps_per_epoch == steps else counted(steps, "step")


def counted(number: int | float, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "step"), counted(1200, "step"), counted(0.5, "epoch")
    ('1 step', '1,200 steps', '0.5 epochs')
    """
    shown = f"{number:,}" if number == int(number) else f"{number:g}"
    return f"{shown.removesuffix('.0')} {noun}{'' if number == 1 else 's'}"


def leftover_text(setting: Setting) -> str:
    """What an epoch does not hold of the training images."""
    plan = setting.plan
    if not isinstance(setting.config.sampling, Uniform):
        return "; some images several times an epoch, others not"
    left = len(setting.data.train_rows) - plan.steps_per_epoch * plan.batch_size
    return f"; {counted(left, 'image')} left out of each epoch, others each time" if left else ""


def data_text(setting: Setting) -> str:
    """What the source holds."""
    dataset = setting.data.dataset
    test = "none to predict" if dataset.test is None else f"{len(dataset.test):,} to predict"
    skipped = f", {len(dataset.skipped)} skipped (see run.json)" if dataset.skipped else ""
    return (
        f"{type(setting.config.source).__name__}: {len(dataset.train):,} labelled images of "
        f"{len(dataset.train.class_names)} classes, {test}{skipped}"
    )


def split_text(setting: Setting) -> str:
    """How many images are trained on, a class and in all."""
    data = setting.data
    counts = class_counts(data)
    least, most = int(counts.min()), int(counts.max())
    a_class = f"{least}" if least == most else f"{least} to {most}"
    groups = data.dataset.train.groups
    together = f"; {len(set(groups)):,} groups stay whole" if groups is not None else ""
    return (
        f"{len(data.train_rows):,} to train on ({a_class} a class), "
        f"{len(data.validation_rows):,} held out{together}"
    )


def closing_lines(
    setting: Setting,
    seconds: tuple[float, float],
    best_step: int,
    metrics: Mapping[str, float],
    recalls: Mapping[str, Mapping[str, float]],
    files: Sequence[tuple[Path, str]],
) -> Sequence[str]:
    """The result, where the files are, and what to try next.

    Args:
        setting: of the run.
        seconds: wall time of all starts, and of those before this one.
        best_step: of the checkpoint that predicted.
        metrics: of its predictions.
        recalls: of its predictions, `val` and `test`, by class.
        files: that were written, and what they are.
    """
    together, earlier = seconds
    all_starts = f", {clock(together)} over all starts" if earlier else ""
    lines = [f"done in {clock(together - earlier)}{all_starts}"]
    if "val/accuracy" in metrics:
        lines.append(
            f"held-out {held_out_text(setting.config, metrics)}, {where_text(setting.config, best_step)}"
        )
    if "test/accuracy" in metrics:
        lines.append(f"test accuracy     {metrics['test/accuracy']:.4f}")
    lines += [line for line in [task_text(metrics), hardest_text(recalls)] if line]
    width = max(len(str(path)) for path, _ in files)
    advices = next_steps(setting.config, setting.directory)
    made = [f"  {path!s:<{width}}  {what}" for path, what in files]
    return [*lines, "", "made:", *made, "", "next:", *(f"  {advice}" for advice in advices)]


def held_out_text(config: Config, metrics: Mapping[str, float]) -> str:
    """The metric by which the best step was chosen, and the accuracy.

    >>> config = Config(name="x", selection=Selection(metric="macro_f1"))
    >>> held_out_text(config, {"val/accuracy": 0.5, "val/macro_f1": 0.25})
    'macro_f1 0.2500, accuracy 0.5000'
    """
    names = dict.fromkeys((config.selection.metric, "accuracy"))
    return ", ".join(f"{name} {metrics[f'val/{name}']:.4f}" for name in names)


def where_text(config: Config, best_step: int) -> str:
    """Which weights predict."""
    if isinstance(config.averaging, Swa):
        return "of the mean over the last epochs"
    of_average = "of the exponential average " if averages_predict(config.averaging) else ""
    return f"{of_average}at the best step, {best_step:,}"


def submission_text(count: int, tasks: Tasks | None) -> str:
    """What a submission holds, and where its numbers are of combined classes, of which.

    >>> from sketch_jax.tasks import cross_product
    >>> submission_text(3, cross_product({"mask": ("worn", "none"), "age": ("young", "old")}))
    "answers for 3 images, in the sample submission's layout; of mask/age: 0 is worn/young, 3 none/old"
    """
    text = f"answers for {count:,} images, in the sample submission's layout"
    if tasks is None:
        return text
    names = joined_names(tasks)
    of = SEPARATOR.join(tasks.names)
    return f"{text}; of {of}: 0 is {names[0]}, {len(names) - 1} {names[-1]}"


def task_text(metrics: Mapping[str, float]) -> str:
    """How well each task is answered, held out where images are, else in the test set.

    >>> task_text({"val/accuracy": 0.5, "val/age/accuracy": 0.75, "val/age/macro_f1": 0.7})
    'by task: age 0.7500 (macro F1 0.7000)'
    """
    part = "val" if "val/accuracy" in metrics else "test"
    places = [key.removesuffix("/accuracy") for key in metrics if key.startswith(f"{part}/")]
    shown = [
        f"{place.removeprefix(f'{part}/')} {metrics[f'{place}/accuracy']:.4f} "
        f"(macro F1 {metrics[f'{place}/macro_f1']:.4f})"
        for place in places
        if f"{place}/accuracy" in metrics and place != part
    ]
    return f"by task: {', '.join(shown)}" if shown else ""


def hardest_text(recalls: Mapping[str, Mapping[str, float]]) -> str:
    """The classes that are recognised least, held out where images are, else in the test set.

    >>> hardest_text({"val": {"cat": 0.5, "dog": 1.0, "fish": 0.25}, "test": {"cat": 0.0}})
    'hardest, by held-out recall: fish 0.25, cat 0.50'
    """
    part = next((part for part in ("val", "test") if recalls.get(part)), None)
    if part is None:
        return ""
    missed = sorted((recall, name) for name, recall in recalls[part].items() if recall < 1.0)
    shown = ", ".join(f"{name} {recall:.2f}" for recall, name in missed[:HARDEST_SHOWN])
    return f"hardest, by {'held-out' if part == 'val' else 'test'} recall: {shown}" if shown else ""


def next_steps(config: Config, directory: Path) -> Sequence[str]:
    """Commands that follow from what was run."""
    command = "python -m sketch_jax.main --config"
    elsewhere = " --output-dir None" if config.output_dir is not None else ""
    again = f"{command} {shlex.quote(str(directory / 'config.json'))}{elsewhere}"
    place = shlex.quote(str(directory))
    if isinstance(config.source, Doodles):
        first = f"{command} configs/folder.py --source.root my_images   # your own images, one folder a class"
    elif config.model.pretrained is None:
        weights = "--model.name None --image-size None --model.pretrained timm/resnet18.a1_in1k"
        first = f"{again} --name tuned {weights}   # not from scratch"
    else:
        longer = config.epochs * 2 or 10
        purpose = "twice as long" if config.epochs else "with training"
        first = (
            f"{again} --name {shlex.quote(f'{config.name}-{longer}-epochs')} --epochs {longer}   # {purpose}"
        )
    exports = not config.model.head.hidden and not isinstance(config.loss, MultiTask | Ordinal | Regression)
    return [
        first,
        *([f"python -m convert to-timm {place} --output {place}-timm   # back to timm"] if exports else []),
        f"tensorboard --logdir {place}   # learning curves; needs pip install tensorboard",
    ]
