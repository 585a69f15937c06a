"""The commands of scripts/, called in this process."""

import importlib.util
import json

from command import ROOT


def run_script(name: str, *arguments: object) -> int:
    """The exit code of a command."""
    specification = importlib.util.spec_from_file_location(f"{name}_script", ROOT / "scripts" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.main([str(argument) for argument in arguments])


def summary(capsys) -> tuple[str, dict]:
    """What a command printed, and its last line."""
    text = capsys.readouterr().out
    return text, json.loads(text.splitlines()[-1])
