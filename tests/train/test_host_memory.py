import subprocess
import sys

import pytest

from sketch_jax.train.host_memory import address_space_is_free

MEASURE = """
import resource
import sys

import numpy as np

from sketch_jax.train.host_memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()

def touch_and_free():
    np.empty(int(sys.argv[2]) * 2**20, np.uint8)[:: 64 * 2**10] = 1

touch_and_free()
rounds = []
for _ in range(3 if sys.argv[1] == "keep" else 1):  # the least of them, as a kernel may take idle pages away
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    touch_and_free()
    rounds.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(rounds))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is what is set")
@pytest.mark.parametrize("mebibytes", [256, 2500])
def test_a_freed_buffer_is_used_again_without_new_page_faults(mebibytes):
    def faults(mode: str) -> int:
        command = [sys.executable, "-c", MEASURE, mode, str(mebibytes)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults("keep") < 25, "of a touch of all pages"
    assert faults("default") > 100


STEPS = """
import resource
import sys

import jax
from jax import numpy as jnp

from sketch_jax.train.host_memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()

@jax.jit
def step(rows, columns):
    table = rows @ columns  # 128 MB that live for the call only, and as much turned upside down
    return jnp.flip(table, 0) @ columns.T + table @ columns.T

rows, columns = jnp.ones((4096, 8)), jnp.ones((8, 8192))
step(rows, columns).block_until_ready()
rounds = []
for _ in range(3):  # the least of them, as above
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(2):
        step(rows, columns).block_until_ready()
    rounds.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(rounds))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is what is set")
def test_temporary_buffers_of_a_step_are_used_again_without_new_page_faults():
    def faults(mode: str) -> int:
        command = [sys.executable, "-c", STEPS, mode]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    # New pages would be 131,000 faults; some hundred come of what a kernel short of memory took away.
    assert faults("keep") < 1_000, "of 2 steps"
    assert faults("default") > 50_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is what is set")
def test_a_limit_on_the_address_space_is_respected():
    def answer(limit: str) -> str:
        script = "from sketch_jax.train import host_memory as memory; print(memory.address_space_is_free())"
        command = ["bash", "-c", f"{limit} {sys.executable} -c '{script}'"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert answer("ulimit -v 20000000;") == "False"
    assert answer("ulimit -d 20000000;") == "False"
    assert address_space_is_free() is (answer("") == "True")
