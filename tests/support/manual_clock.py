"""A clock that stands still until the test moves it."""

from keyserver.engine.ports import TimerCallback


class ManualClock:
    """Time as the test says; timers run inside `advance`."""

    def __init__(self, unix: int = 1_800_000_000) -> None:
        self._start = unix
        self._now = 0.0
        self._timers: list[ManualTimer] = []

    def monotonic(self) -> float:
        return self._now

    def unix(self) -> int:
        return self._start + int(self._now)

    def call_later(self, seconds: float, callback: TimerCallback) -> "ManualTimer":
        timer = ManualTimer(self._now + seconds, callback)
        self._timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass and run the timers that are due, in order."""
        self._now += seconds
        due = sorted((t for t in self._timers if t.due <= self._now), key=lambda timer: timer.due)
        self._timers = [timer for timer in self._timers if timer not in due]
        for timer in due:
            timer.fire()


class ManualTimer:
    """A timer of a `ManualClock`."""

    def __init__(self, due: float, callback: TimerCallback) -> None:
        self.due = due
        self._callback: TimerCallback | None = callback

    def cancel(self) -> None:
        self._callback = None

    def fire(self) -> None:
        if self._callback is not None:
            self._callback()
