"""Turns a request to end (SIGTERM, or SIGHUP of a closed terminal) into an exception, so that `with`
blocks unwind as they do on Ctrl-C."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Terminated(KeyboardInterrupt):
    """The runner was told to end. A main program may catch it and exit with 128 + `number`."""

    def __init__(self, number: int):
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


def _raise(number: int, _frame) -> None:
    raise Terminated(number)


@contextlib.contextmanager
def unwind_on_signals() -> Iterator[None]:
    """Leaves alone what the program has set for itself; does nothing outside the main thread."""
    changed = []
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _raise)
                changed.append(number)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)
