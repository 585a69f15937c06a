"""The run card says truly what a run ran on."""

import importlib
import importlib.metadata
import json
import os
import resource
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from sketch_jax.train.devices import PEAKS, device_peak_flops
from sketch_jax.train.environment import environment_facts, git_commit, package_version, peak_memory_bytes


def test_facts_are_json_and_name_the_versions_that_are_imported():
    facts = json.loads(json.dumps(environment_facts()))
    for name in ("jax", "optax", "numpy", "flax"):
        assert facts["versions"][name] == importlib.import_module(name).__version__
    assert facts["devices"] == {
        "platform": "cpu",
        "kinds": ["cpu"],
        "count": jax.device_count(),
        "processes": 1,
    }
    assert facts["host"]["cpu_count"] >= 1


def test_a_package_that_is_not_there_has_no_version():
    assert package_version("no-such-package-at-all") is None


def git(directory, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *identity, *arguments],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return done.stdout.strip()


def test_the_commit_is_that_of_the_source_and_says_when_it_was_changed(tmp_path):
    source = tmp_path / "package"
    installed = tmp_path / "venv" / "package"
    for directory in (source, installed):
        directory.mkdir(parents=True)
        (directory / "module.py").write_text("x = 1\n")
    assert git_commit(source) is None
    git(tmp_path, "init")
    git(tmp_path, "add", "package")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "tag", "v1")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert git_commit(source) == commit
    (source / "module.py").write_text("x = 2\n")
    assert git_commit(source) == f"{commit}-dirty"
    assert git_commit(installed) is None


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path) is None


def test_peak_memory_grows_with_what_is_held_and_never_shrinks():
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        pytest.skip("needs Linux to know the memory in use now")
    in_use = int(statistics.read_text().split()[1]) * resource.getpagesize()
    before = peak_memory_bytes()
    held = np.ones(max(before - in_use, 0) + 100_000_000, np.uint8)
    during = peak_memory_bytes()
    assert 50_000_000 < during - before < held.nbytes + 50_000_000
    del held
    assert peak_memory_bytes() >= during


@pytest.mark.parametrize(
    ("kind", "bfloat16", "float32"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12, 156e12),
        ("NVIDIA A100 80GB PCIe", 312e12, 156e12),
        ("NVIDIA H100 80GB HBM3", 989.4e12, 494.7e12),
        ("NVIDIA H100 PCIe", 756e12, 378e12),
        ("NVIDIA H100 NVL", 835.5e12, 417.5e12),
        ("NVIDIA H200", 989.4e12, 494.7e12),
        ("NVIDIA GH200 480GB", 989.4e12, 494.7e12),
        ("NVIDIA L4", 121e12, 60e12),
        ("NVIDIA L40S", 362.1e12, 183e12),
        ("Tesla T4", None, 8.1e12),
        ("Tesla V100-SXM2-16GB", None, 15.7e12),
        ("Tesla V100-PCIE-32GB", None, 14e12),
        ("NVIDIA GeForce RTX 3090", 71e12, 35.6e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12, 82.6e12),
        ("TPU v3", 61.5e12, None),
        ("TPU v4", 275e12, None),
        ("TPU v5 lite", 197e12, None),
        ("TPU v5p", 459e12, None),
        ("TPU v5", 459e12, None),
        ("TPU v6 lite", 918e12, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None, None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None, None),
        ("NVIDIA RTX A1000", None, None),
        ("NVIDIA H20", None, None),
        ("cpu", None, None),
    ],
)
def test_peaks_are_found_by_the_names_that_jax_gives(kind, bfloat16, float32):
    for dtype, teraflops in (("bfloat16", bfloat16), ("float32", float32)):
        assert device_peak_flops(kind, dtype) == (None if teraflops is None else pytest.approx(teraflops))


def test_the_peak_of_another_type_is_not_known():
    assert device_peak_flops("NVIDIA H200", "float64") is None


def test_units_of_half_the_width_are_twice_as_fast_where_both_are_known():
    for peak in PEAKS.values():
        if peak.bfloat16 is not None and peak.float32 is not None:
            assert peak.bfloat16 / peak.float32 == pytest.approx(2.0, rel=0.02)
