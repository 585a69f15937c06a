import subprocess
import sys

import pytest

MEASURE = """
import resource
import sys

import numpy as np

from sketch_jax.train.host_memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()

def touch_and_free():
    np.ones(64 * 2**20, np.uint8)

touch_and_free()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    touch_and_free()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is what is set")
def test_a_freed_buffer_is_used_again_without_new_page_faults():
    def faults(mode: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, mode], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert faults("keep") < 500
    assert faults("default") > 1000
