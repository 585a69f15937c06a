import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import QUICKSTART, environment

from sketch_jax.augment.policies.options import AutoAugment, RandAugment
from sketch_jax.augment.policies.text import parse_policy
from sketch_jax.config import Config, read_config
from sketch_jax.data.csv_table import Csv
from sketch_jax.data.folder import Folder
from sketch_jax.data.splits import KFold
from sketch_jax.errors import InputError
from sketch_jax.kinds import choices_under, choose_kinds
from sketch_jax.losses.options import Focal
from sketch_jax.main import parse_config
from sketch_jax.models.tuning_options import Everything, Patterns
from sketch_jax.optim.options import Adam, AdamW, Lion, Muon, Sam, Sgd
from sketch_jax.train.options import Swa


def parsed(*options):
    return parse_config(["--config", QUICKSTART, *options])


@pytest.mark.parametrize("words", [["--split.kind", "KFold"], ["--split.kind=KFold"]])
def test_a_kind_is_chosen_by_name_and_its_options_by_theirs(words):
    config = parsed("--split.count", "3", *words, "--split.fold", "2")
    assert config.split == KFold(count=3, fold=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--optimizer", "Lion"],
            "--optimizer: is AdamW; choose another kind by --optimizer.kind NAME (AdamW, ",
        ),
        (["--split.fold=2"], "--split.fold: HoldOut has no such option, KFold has; add --split.kind KFold"),
        (["--averaging.decay", "0.9"], "--averaging.decay: None has no such option, Ema has; add"),
    ],
)
def test_options_of_another_kind_name_the_kind_that_has_them(options, message):
    with pytest.raises(InputError) as caught:
        parsed(*options)
    assert str(caught.value).startswith(message)


def test_fields_of_the_same_name_keep_their_values():
    folder = parsed("--source.kind", "Folder", "--source.root", "images", "--source.on-bad-image", "skip")
    assert folder.source == Folder(root="images", on_bad_image="skip")
    seeded = parsed("--split.kind", "HoldOut", "--split.seed", "3", "--split.kind", "KFold")
    assert seeded.split == KFold(seed=3)


def test_defaults_of_the_old_kind_do_not_stay_and_what_was_set_does():
    default = Config(name="x", optimizer=AdamW(clip_norm=1.0))
    for kind in (Lion, Muon, Adam, Sgd):
        changed, left = choose_kinds(default, ["--optimizer.kind", kind.__name__], None)
        assert not left
        assert changed.optimizer == kind(clip_norm=1.0)
    assert parsed("--loss.kind", "Focal").loss == Focal()


@pytest.mark.parametrize("turned", [False, True])
def test_sam_goes_over_the_optimizer_that_is_there_and_choices_may_come_in_any_order(turned):
    own = AdamW(learning_rate=5e-5, clip_norm=1.0)
    over, _ = choose_kinds(Config(name="x", optimizer=own), ["--optimizer.kind", "Sam"], None)
    assert over.optimizer == Sam(base=own)
    back, _ = choose_kinds(over, ["--optimizer.kind", "AdamW"], None)
    assert back.optimizer == own
    words = ["--optimizer.kind=Sam", "--optimizer.base.kind=Sgd"]
    nested, _ = choose_kinds(Config(name="x"), words[::-1] if turned else words, None)
    assert nested.optimizer == Sam(base=Sgd())


def test_a_field_without_default_must_be_given(capsys):
    with pytest.raises(SystemExit):
        parsed("--source.kind", "Csv")
    assert "--source.root" in capsys.readouterr().err
    assert isinstance(parsed("--source.kind", "Csv", "--source.root", "x").source, Csv)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split.kind", "KFolds"], "--split.kind KFolds: no such kind; did you mean 'KFold'?; it can be "),
        (["--split.kind"], "--split.kind : no such kind; it can be HoldOut, KFold"),
        (["--spit.kind", "KFold"], "--spit.kind: there is no field 'spit'; did you mean 'split'?"),
        (
            ["--augmentation.kind", "Curriculum"],
            "--augmentation.kind Curriculum: its stages are records, of which the command line can make none",
        ),
        (["--logging.kind", "Logging"], "--logging.kind: logging is of one kind only; leave the option out"),
    ],
)
def test_what_is_no_kind_is_refused(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        parsed(*options)


def test_checks_see_the_whole_configuration_alone():
    averaged = parsed("--averaging.kind", "Swa", "--averaging.first-epoch", "1")
    assert averaged.averaging == Swa(first_epoch=1)
    some = parsed("--tuning.kind", "Patterns", "--tuning.trained", "^head/")
    assert some.tuning == Patterns(trained=("^head/",))
    frozen = ["--config", "configs/system_a_linear.py", "--tuning.kind", "Everything"]
    with pytest.raises(InputError, match="nothing is frozen"):
        parse_config(frozen)
    whole = parse_config([*frozen, "--model.frozen-precision", "float32"])
    assert whole.tuning == Everything()


def test_a_value_that_the_new_kind_could_not_have_is_left_behind():
    mixed = ["--augmentation.policy.kind", "AugMix", "--augmentation.policy.kind", "AutoAugment"]
    assert parsed(*mixed).augmentation.policy == AutoAugment()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--optimizer.kind", "Sam", "--optimizer.learning-rate", "1e-4"],
            "--optimizer.learning-rate: Sam has no such option itself; it is "
            "--optimizer.base.learning-rate there",
        ),
        (
            ["--config", "configs/system_a_curriculum.py", "--augmentation.rotation-degrees", "15"],
            "--augmentation.rotation-degrees: Curriculum has no such option itself; it is "
            "--augmentation.stages.0.augmentation.rotation-degrees there",
        ),
    ],
)
def test_an_option_of_what_lies_in_a_kind_is_shown_where_it_is(options, message):
    with pytest.raises(InputError) as caught:
        parsed(*options)
    assert str(caught.value) == message


def test_a_policy_may_be_timms_string_and_changed_like_any_other():
    policy = parsed("--augmentation.policy", "rand-m9-mstd0.5-inc1").augmentation.policy
    assert policy == RandAugment(magnitude=9.0, magnitude_std=0.5, increasing=True)
    assert parsed("--augmentation.policy", "None").augmentation.policy is None
    changed = parsed("--augmentation.policy=augmix-m5-w4-d2", "--augmentation.policy.width", "2")
    assert changed.augmentation.policy == dataclasses.replace(parse_policy("augmix-m5-w4-d2"), width=2)
    with pytest.raises(InputError, match=re.escape("policy 'randm9': 'randm9' is none of rand, ")):
        parsed("--augmentation.policy", "randm9")
    with pytest.raises(InputError, match=r"--augmentation.policy rand-m9: the augmentation is in stages"):
        parse_config(["--config", "configs/system_a_curriculum.py", "--augmentation.policy", "rand-m9"])


@pytest.mark.parametrize("name", ["quickstart", "system_a_curriculum", "system_c"])
def test_every_kind_is_taken_or_refused_with_a_message(name, capsys):
    config = f"configs/{name}.py"
    for option, kinds, _ in choices_under(read_config(Path(config))):
        for kind in kinds:
            try:
                parse_config(["--config", config, option, kind])
            except InputError:
                continue
            except SystemExit:
                assert "required" in capsys.readouterr().err.lower(), (option, kind)


def test_help_lists_the_kinds():
    done = subprocess.run(HELP, capture_output=True, text=True, env=environment())
    assert "--split.kind HoldOut|KFold (here HoldOut)" in done.stdout


def test_help_ends_quietly_when_its_reader_has_left():
    process = subprocess.Popen(
        HELP, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert (process.stderr.read(), process.wait(timeout=60)) == ("", 141)
    process.stderr.close()


HELP = [sys.executable, "-m", "sketch_jax.main", "--config", QUICKSTART, "--help"]
