"""Lets Ctrl-C end what somebody waits for, also within an event loop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupted_at_once() -> Iterator[None]:
    """Raise `KeyboardInterrupt` where the key is pressed.

    The event loop's own handler would only note it until the loop runs again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not for other threads
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
