"""A signal asks a run to stop; a second Ctrl+C ends it at once."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sketch_jax.train.signals import catch_stop_signals

ROOT = Path(__file__).parents[2]

LOOP = """
import time
from sketch_jax.train.signals import catch_stop_signals

with catch_stop_signals("heard: saving first") as stop:
    print("ready", flush=True)
    while stop.requested is None:
        time.sleep(0.01)
    print("requested", stop.requested, flush=True)
    time.sleep(60)
"""


def start_loop() -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert read_line(process) == "ready"
    return process


def read_line(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_a_request_and_ctrl_c_after_it_kills(first):
    process = start_loop()
    process.send_signal(first)
    assert read_line(process) == f"requested {int(first)}"
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (-signal.SIGINT, "\nheard: saving first\n")


def test_a_request_is_heard_although_the_terminal_is_gone():
    process = start_loop()
    assert process.stdout is not None
    assert process.stderr is not None
    process.stderr.close()
    process.send_signal(signal.SIGTERM)
    assert read_line(process) == f"requested {int(signal.SIGTERM)}"
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_handlers_are_put_back(number):
    before = signal.getsignal(number)
    with catch_stop_signals() as stop:
        assert stop.requested is None
        assert signal.getsignal(number) is not before
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested == signal.SIGTERM
    assert signal.getsignal(number) is before


def test_another_thread_may_run_without_signals():
    seen = []

    def work() -> None:
        with catch_stop_signals() as stop:
            seen.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]
