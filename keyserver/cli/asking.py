"""Asks at the terminal, without echo; who presses Ctrl-C there interrupts the command."""

import typer

from keyserver.cli.output import USAGE, CommandError


def ask_hidden(question: str, *, may_be_empty: bool = False) -> str:
    """What is typed in answer to a question, as it is.

    Raises `KeyboardInterrupt`, and `CommandError` for bytes that are no text.
    """
    return _prompted(question, "" if may_be_empty else None, suffix=": ")


def wait_for_enter(request: str) -> None:
    """Return when Enter was pressed; raises `KeyboardInterrupt`."""
    _prompted(request, "", suffix=". ")


def _prompted(question: str, default: str | None, *, suffix: str) -> str:
    try:
        answer: str = typer.prompt(
            question,
            default=default,
            show_default=False,
            prompt_suffix=suffix,
            hide_input=True,
            err=True,
        )
        answer.encode()  # in some locales, bytes that are no text come as half characters
    except typer.Abort:
        # typer's word for it, which would end the command like any failure
        raise KeyboardInterrupt from None
    except UnicodeError:
        text = "what was typed is no UTF-8 text"
        raise CommandError(text, hint="Set the terminal to UTF-8.", exit_code=USAGE) from None
    return answer
