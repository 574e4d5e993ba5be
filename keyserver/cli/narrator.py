"""How the demo appears on the screen: a line for each step, alive while blocks pass."""

import sys

from rich.console import Console
from rich.status import Status

from keyserver.client.requests import Progress
from keyserver.devnet.narrating import StepResult


class ScreenNarrator:
    """Tells the story on a console; without a terminal, in plain lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._number = 0

    def begin(self, name: str, text: str) -> None:
        """Show the step's sentence and a spinner."""
        self._number += 1
        self._console.print(f"\n[bold]{self._number}. {text}[/bold]")
        if self._console.is_terminal:
            self._status = self._console.status("working", spinner="dots")
            self._status.start()

    def say(self, line: str) -> None:
        """Show a line below the step."""
        self._console.print(f"   {line}", highlight=False)

    def wait(self, progress: Progress) -> None:
        """Show the block that has come."""
        if self._status is not None:
            self._status.update(str(progress))
        else:
            self.say(str(progress))

    def end(self, result: StepResult, error: str) -> None:
        """Show how it went."""
        self.close()
        gas = f", {result.gas:,} gas" if result.gas else ""
        if result.ok:
            self._console.print(f"   [green]done[/green] in {result.seconds:.1f} s{gas}")
            return
        self._console.print(f"   [red]failed[/red] after {result.seconds:.1f} s{gas}")
        self._console.print(error, markup=False, highlight=False)

    def close(self) -> None:
        """Take the spinner away."""
        if self._status is not None:
            self._status.stop()
            self._status = None


class SilentNarrator:
    """Tells nothing but failures, on standard error: for `--json`."""

    def begin(self, name: str, text: str) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""

    def wait(self, progress: Progress) -> None:
        """Nothing."""

    def end(self, result: StepResult, error: str) -> None:
        """Tell why a step failed."""
        if error:
            print(f"{result.name}: {error}", file=sys.stderr)
