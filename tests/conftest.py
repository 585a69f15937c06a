"""What every test stands on: the CPU, strict shapes, a cache of compiled programs, and the shared data."""

import gc
import os
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
# The numbers hold however programs are compiled; so these small ones compile in half the time. A level in the
# variable is let be: the smoke tests of `.ci/run` compile as runs do.
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
flags = os.environ.get("XLA_FLAGS", "")
if "xla_backend_optimization_level" not in flags:
    os.environ["XLA_FLAGS"] = f"{QUICK} {flags}".strip()

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
gc.set_threshold(100_000, 20, 100)  # tracing makes objects by the million; looking through them takes a tenth


def unpacked(name: str, directory: Path) -> Path:
    """A shared data set, unpacked; skips the test in a clone without it."""
    archive = SHARED / "data" / f"{name}.zip"
    if not archive.is_file():
        pytest.skip(f"needs the data set {name}, which is not part of the repository")
    with zipfile.ZipFile(archive) as files:
        files.extractall(directory)
    return directory


@pytest.fixture(scope="session")
def quickdraw(tmp_path_factory) -> Path:
    return unpacked("quickdraw24", tmp_path_factory.mktemp("quickdraw24"))


@pytest.fixture(scope="session")
def refgame(tmp_path_factory) -> Path:
    return unpacked("refgame32", tmp_path_factory.mktemp("refgame32"))


@pytest.fixture(scope="session")
def mobilenet_weights() -> Path:
    directory = SHARED / "weights" / "mobilenetv2_035.keras_in1k"
    if not directory.is_dir():
        pytest.skip("needs real weights, which are not part of the repository")
    return directory


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def pretended_cudnn(monkeypatch) -> None:
    """Lets cuDNN's attention be traced, not run, where there is none."""
    from jax._src.cudnn import fused_attention_stablehlo as fused

    monkeypatch.setattr(fused, "check_cudnn_version", lambda: 91200)
    monkeypatch.setattr(fused, "check_compute_capability", lambda _: True)
    monkeypatch.setattr(fused, "is_cuda_compute_capability_equal", lambda _: False)
