"""The end of a process in which libraries ran threads of their own."""

import atexit
import os
import sys
import threading
from typing import NoReturn


def end_process(exit_code: int) -> NoReturn:
    """Ends the process as `sys.exit` does, but without taking the interpreter apart.

    A thread of some library may still be about to leave Python when the work is done. Where the interpreter
    goes away under it, it aborts the process: exit code -6 after everything went well (docs/log.md).

    Threads that the process must wait for are waited for, and what was registered for the end is done.
    """
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
