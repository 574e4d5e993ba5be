"""Lets Ctrl-C end what somebody waits for, also within an event loop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupted_at_once() -> Iterator[None]:
    """Raise `KeyboardInterrupt` where the key is pressed.

    The event loop's own handler would only note it until the loop runs again. A process in the
    background that ignores the key goes on ignoring it.
    """
    before = signal.getsignal(signal.SIGINT)
    of_signals = threading.current_thread() is threading.main_thread()
    if not of_signals or before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
