import json
import subprocess
import sys

import pytest

from convert.__main__ import main
from convert.verify import faults

WITHOUT_TIMM = "import sys; sys.modules['timm'] = sys.modules['torch'] = None\n"


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command", [(), ("verify",), ("trees",), ("to-flax",), ("to-timm",), ("list",), ("document",)]
)
def test_help_names_every_option_and_exits_well(command, capsys):
    with pytest.raises(SystemExit) as raised:
        main([*command, "--help"])
    assert raised.value.code == 0
    options = {
        (): ("verify", "trees", "to-flax", "to-timm", "list", "document"),
        ("verify",): ("NAME", "--weights", "--image-size", "--batch-size", "--seed"),
        ("to-flax",): ("SOURCE", "--output", "--architecture"),
        ("to-timm",): ("RUN_OR_DIR", "--output"),
        ("trees",): ("NAME",),
        ("list",): ("JSON line of counts",),
        ("document",): ("--results",),
    }
    text = capsys.readouterr().out
    assert all(option in text for option in options[command])


def test_help_loads_neither_jax_nor_torch():
    result = run_python(
        "import sys\nfrom convert.__main__ import create_parser\ncreate_parser().format_help()\n"
        "print(sorted({'jax', 'flax', 'numpy', 'torch', 'timm'} & set(sys.modules)))"
    )
    assert result.stdout == "[]\n"


def test_the_list_ends_with_counts_that_timm_confirms(capsys):
    timm = pytest.importorskip("timm")
    assert main(["list"]) == 0
    *names, last = capsys.readouterr().out.splitlines()
    tags = [tag for tag in timm.list_pretrained() if tag.split(".")[0] in names]
    assert json.loads(last) == {"supported": len(names), "timm_tags": len(tags)}
    assert names == sorted(set(names))
    assert {"vit_tiny_patch16_224", "resnet18", "mobilenetv2_035"} <= set(names) <= set(timm.list_models())


def test_the_page_of_models_is_what_the_command_prints(root, capsys):
    pytest.importorskip("timm")
    assert main(["document", "--results", str(root / "docs" / "verified.jsonl")]) == 0
    assert capsys.readouterr().out == (root / "docs" / "models.md").read_text(encoding="utf-8")


def test_every_measured_difference_on_the_page_is_within_the_tolerances(root):
    lines = (root / "docs" / "verified.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 3
    assert not any(faults(json.loads(line)) for line in lines)


def test_trees_are_compared_without_making_a_parameter(capsys, monkeypatch):
    pytest.importorskip("timm")
    assert main(["trees", "test_resnet", "test_vit"]) == 0
    assert json.loads(capsys.readouterr().out) == {"compared": 2, "differing": []}
    monkeypatch.setattr("convert.trees.our_shapes", lambda name: {"fc.weight": (1000, 7), "new": (1,)})
    assert main(["trees", "test_resnet"]) == 1
    text = capsys.readouterr().out
    assert "  fc.weight: (1000, 7) here, (1000, 96) in timm\n" in text
    assert "  new: (1,) here, not in timm\n" in text
    assert "  conv1.0.weight: not here, (16, 3, 3, 3) in timm\n" in text
    assert json.loads(text.splitlines()[-1]) == {"compared": 1, "differing": ["test_resnet"]}


def test_the_list_needs_no_timm():
    result = run_python(f"{WITHOUT_TIMM}from convert.__main__ import main\nsys.exit(main(['list']))")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["timm_tags"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "resnet18"], "error: python -m convert verify needs timm, which is not installed;"),
        (
            ["to-flax", "x.pth", "--output", "y"],
            "error: x.pth: reading a pickled checkpoint needs torch, which is not installed;",
        ),
    ],
)
def test_a_missing_extra_is_named(arguments, message):
    result = run_python(f"{WITHOUT_TIMM}from convert.__main__ import main\nsys.exit(main({arguments}))")
    assert result.returncode == 2
    assert (
        result.stderr
        == f"{message} in a clone of the project run python3 -m pip install -c constraints.txt -e '.[timm]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "resnt18"], "error: model 'resnt18': no such architecture; did you mean 'resnet18'"),
        (["verify", "resnet18", "--batch-size", "1"], "error: --batch-size 1: must be at least 2"),
        (["verify", "resnet18", "--weights", "nowhere"], "error: 'nowhere' names no weights"),
        (["to-timm", "nowhere", "--output", "x"], "error: nowhere: no such directory"),
        (
            ["to-flax", "timm/resnt18.a1_in1k", "--output", "x"],
            "error: timm/resnt18.a1_in1k: model 'resnt18': no such architecture; did you mean 'resnet18'",
        ),
    ],
)
def test_bad_input_is_one_message_and_code_2(arguments, message, capsys):
    pytest.importorskip("timm")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message)
