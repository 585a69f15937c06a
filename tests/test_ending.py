import subprocess
import sys

SCRIPT = """
import atexit
import sys
import threading
import time

from sketch_jax.ending import end_process


class Witness:
    def __del__(self):
        sys.stderr.write("taken apart")


def work():
    time.sleep(0.2)
    print("thread done")


witness = Witness()
atexit.register(print, "registered")
threading.Thread(target=work).start()
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("main done")
end_process(7)
"""


def test_a_process_ends_after_its_threads_and_callbacks_without_taking_the_interpreter_apart():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7, "main done\nthread done\nregistered\n")
    assert done.stderr == ""
    usual = SCRIPT.replace("end_process(7)", "sys.exit(7)")
    assert (
        "taken apart" in subprocess.run([sys.executable, "-c", usual], capture_output=True, text=True).stderr
    )
