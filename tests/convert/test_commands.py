import json
import subprocess
import sys

import pytest

from convert.__main__ import main

WITHOUT_TIMM = "import sys; sys.modules['timm'] = sys.modules['torch'] = None\n"


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [(), ("verify",), ("to-flax",), ("to-timm",), ("list",)])
def test_help_names_every_option_and_exits_well(command, capsys):
    with pytest.raises(SystemExit) as raised:
        main([*command, "--help"])
    assert raised.value.code == 0
    options = {
        (): ("verify", "to-flax", "to-timm", "list"),
        ("verify",): ("NAME", "--weights", "--image-size", "--batch-size", "--seed"),
        ("to-flax",): ("SOURCE", "--output", "--architecture"),
        ("to-timm",): ("RUN_OR_DIR", "--output"),
        ("list",): ("timm_tags",),
    }
    text = capsys.readouterr().out
    assert all(option in text for option in options[command] if option != "timm_tags")


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
    ],
)
def test_bad_input_is_one_message_and_code_2(arguments, message, capsys):
    pytest.importorskip("timm")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message)
