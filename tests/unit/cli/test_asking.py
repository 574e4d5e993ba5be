"""Questions at the terminal."""

import pytest
import typer

from keyserver.cli.asking import ask_hidden, wait_for_enter
from keyserver.cli.output import INTERRUPTED, USAGE, CommandError, report_error


def test_what_is_typed_comes_back_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, object]]] = []

    def prompt(question: str, **options: object) -> str:
        asked.append((question, options))
        return " words "

    monkeypatch.setattr(typer, "prompt", prompt)
    assert ask_hidden("Share") == " words "
    assert ask_hidden("Share", may_be_empty=True) == " words "
    wait_for_enter("Enter")
    assert [question for question, _ in asked] == ["Share", "Share", "Enter"]
    assert all(options["hide_input"] for _, options in asked)
    assert [options["default"] for _, options in asked] == [None, "", ""]


def test_what_is_typed_must_be_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def undecodable(_: str, **__: object) -> str:
        return b"\xff".decode()

    for prompt in (undecodable, lambda _, **__: "word \udcff"):
        monkeypatch.setattr(typer, "prompt", prompt)
        with pytest.raises(CommandError, match="is no UTF-8 text") as caught:
            ask_hidden("Share")
        assert caught.value.exit_code == USAGE
        assert "word" not in str(caught.value)
    monkeypatch.setattr(typer, "prompt", lambda _, **__: "größe \U0001f511")
    assert ask_hidden("Share") == "größe \U0001f511"


def test_who_breaks_off_interrupts_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def prompt(_: str, **__: object) -> str:
        raise typer.Abort

    monkeypatch.setattr(typer, "prompt", prompt)
    for ask in (ask_hidden, wait_for_enter):
        with pytest.raises(KeyboardInterrupt) as caught:
            ask("Share")
        assert report_error(caught.value) == INTERRUPTED
