"""Signals that ask a run to stop, as a value that the loop looks at."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StoppedError(Exception):
    """A run was asked to stop while it had nothing to save."""

    def __init__(self, signal_number: int):
        super().__init__(signal_number)
        self.signal_number = signal_number


class StopRequest:
    """Whether the run was asked to stop."""

    requested: int | None = None
    """Number of the signal that asked; None: go on."""

    def raise_if_requested(self) -> None:
        """Leaves a stretch of work in which there is nothing to save.

        Raises:
            StoppedError: the run was asked to stop.
        """
        if self.requested is not None:
            raise StoppedError(self.requested)


@contextlib.contextmanager
def catch_stop_signals(notice: str = "") -> Iterator[StopRequest]:
    """Turns the first SIGTERM or SIGINT into a request; a SIGINT after that kills at once.

    Outside the main thread, where Python allows no handlers, nothing is caught.

    Args:
        notice: written to standard error at the first signal, as some time may pass until it is heard.
    """
    stop = StopRequest()

    def request(number: int, frame: object) -> None:
        first, stop.requested = stop.requested is None, stop.requested or number
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if first and notice:
            with contextlib.suppress(OSError):  # the terminal may be gone
                os.write(2, f"\n{notice}\n".encode())  # print() may have been interrupted itself

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, request) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextlib.contextmanager
def leave_on_interrupt(notice: str) -> Iterator[None]:
    """Lets Ctrl-C end the process at once, with exit code 130, while there is nothing to save.

    Python's own way, an exception, is lost where it is raised inside a callback of the garbage collector; and
    threads of the compiler crash at the interpreter's end.

    Args:
        notice: written to standard error.
    """

    def leave(number: int, frame: object) -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"{notice}\n".encode())
        os._exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)
