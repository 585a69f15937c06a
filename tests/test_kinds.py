import re
import subprocess
import sys

import pytest
from command import QUICKSTART, environment

from sketch_jax.data.csv_table import Csv
from sketch_jax.data.folder import Folder
from sketch_jax.data.splits import KFold
from sketch_jax.errors import InputError
from sketch_jax.main import parse_config


def parsed(*options):
    return parse_config(["--config", QUICKSTART, *options])


@pytest.mark.parametrize("words", [["--split.kind", "KFold"], ["--split.kind=KFold"]])
def test_a_kind_is_chosen_by_name_and_its_options_by_theirs(words):
    config = parsed("--split.count", "3", *words, "--split.fold", "2")
    assert config.split == KFold(count=3, fold=2)


def test_fields_of_the_same_name_keep_their_values():
    folder = parsed("--source.kind", "Folder", "--source.root", "images", "--source.on-bad-image", "skip")
    assert folder.source == Folder(root="images", on_bad_image="skip")
    seeded = parsed("--split.kind", "HoldOut", "--split.seed", "3", "--split.kind", "KFold")
    assert seeded.split == KFold(seed=3)


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
        (["--logging.kind", "Logging"], "--logging.kind: logging is of one kind only; leave the option out"),
    ],
)
def test_what_is_no_kind_is_refused(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        parsed(*options)


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
