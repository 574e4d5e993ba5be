"""Asks at the terminal, without echo; who presses Ctrl-C there interrupts the command."""

import typer


def ask_hidden(question: str, *, may_be_empty: bool = False) -> str:
    """What is typed in answer to a question, as it is; raises `KeyboardInterrupt`."""
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
    except typer.Abort:
        # typer's word for it, which would end the command like any failure
        raise KeyboardInterrupt from None
    return answer
