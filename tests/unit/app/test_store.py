"""Where the sealing key comes from, and which of its sources wins."""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keyserver.app.config import Loaded, load
from keyserver.app.store import automatic_source, key_source, make_data_directory
from keyserver.errors import StorageError
from keyserver.sealing.errors import KeySourceError
from keyserver.sealing.key_sources import KeyFile, KeyText, Passphrase
from tests.unit.app.samples import SECRETS


def configured(directory: Path, seal: str = "") -> Loaded:
    file = directory / "config.toml"
    file.write_text(
        f'[secretstore]\nself_secret = "{SECRETS["a"]}"\npath = "{directory}/data"\n'
        f"[keyserver.seal]\n{seal}\n"
    )
    return load(file, environ={"HOME": str(directory)})


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_without_any_source_a_file_is_made(tmp_path: Path) -> None:
    expected = KeyFile(tmp_path / "data" / "seal.key", "default", make_if_missing=True)
    assert key_source(configured(tmp_path)) == expected


def test_a_named_file_is_never_made(tmp_path: Path) -> None:
    source = key_source(configured(tmp_path, f'key_file = "{tmp_path}/my.key"\nkey_id = "k2"'))
    assert source == KeyFile(tmp_path / "my.key", "k2", make_if_missing=False)


def test_a_variable_wins_over_a_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passphrase = private(tmp_path / "words", "correct horse\n")
    loaded = configured(tmp_path, f'key_env = "MY_KEY"\npassphrase_file = "{passphrase}"')
    monkeypatch.setenv("MY_KEY", "ab" * 32)
    assert key_source(loaded) == KeyText("MY_KEY", "ab" * 32, "default")


def test_a_passphrase_wins_over_a_file(tmp_path: Path) -> None:
    passphrase = private(tmp_path / "words", "correct horse\r\nand more\n")
    seal = f'passphrase_file = "{passphrase}"\nkey_file = "{tmp_path}/my.key"'
    assert key_source(configured(tmp_path, seal)) == Passphrase("correct horse")


def test_a_variable_that_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(KeySourceError, match="key_env: the environment variable MY_KEY is not set"):
        key_source(configured(tmp_path, 'key_env = "MY_KEY"'))


@pytest.mark.parametrize(
    ("text", "mode", "problem"),
    [
        ("\nwords", 0o600, "the passphrase, is empty"),
        ("words", 0o644, "chmod 600"),
    ],
)
def test_a_passphrase_file_that_cannot_be_used(
    tmp_path: Path, text: str, mode: int, problem: str
) -> None:
    file = tmp_path / "words"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(KeySourceError, match=problem):
        key_source(configured(tmp_path, f'passphrase_file = "{file}"'))


def test_a_passphrase_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "words"
    file.write_bytes(b"\xff\xfe")
    file.chmod(0o600)
    with pytest.raises(KeySourceError, match="not UTF-8"):
        key_source(configured(tmp_path, f'passphrase_file = "{file}"'))


# --- a passphrase that is typed ---------------------------------------------------------------


def record_with(*kinds: str) -> dict[str, Any]:
    return {"slots": [{"kind": kind} for kind in kinds]}


@dataclass
class Terminal:
    """Somebody who types, or nobody."""

    typed: str | BaseException = "correct horse"
    is_there: bool = True
    asked: int = 0

    def isatty(self) -> bool:
        return self.is_there

    def getpass(self, _: str) -> str:
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        self.asked += 1
        if isinstance(self.typed, BaseException):
            raise self.typed
        return self.typed


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal()
    monkeypatch.setattr("sys.stdin", made)
    monkeypatch.setattr("getpass.getpass", made.getpass)
    return made


def test_a_passphrase_in_no_file_is_asked_for(tmp_path: Path, terminal: Terminal) -> None:
    before = signal.getsignal(signal.SIGINT)
    source = automatic_source(configured(tmp_path), record_with("passphrase"))
    assert (source, terminal.asked) == (Passphrase("correct horse"), 1)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("nothing", ["", EOFError()])
def test_nothing_is_typed(tmp_path: Path, terminal: Terminal, nothing: str | EOFError) -> None:
    """Where there are shares, it is left to them."""
    terminal.typed = nothing
    loaded = configured(tmp_path)
    with pytest.raises(KeySourceError, match="no passphrase was typed"):
        automatic_source(loaded, record_with("passphrase"))
    assert automatic_source(loaded, record_with("shamir", "passphrase")) is None


def test_bytes_that_are_no_text_are_no_passphrase(tmp_path: Path, terminal: Terminal) -> None:
    terminal.typed = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    with pytest.raises(KeySourceError, match="typed is not UTF-8 text"):
        automatic_source(configured(tmp_path), record_with("passphrase"))


def test_who_presses_ctrl_c_at_the_question_ends_the_start(
    tmp_path: Path, terminal: Terminal
) -> None:
    terminal.typed, before = KeyboardInterrupt(), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        automatic_source(configured(tmp_path), record_with("passphrase"))
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("kinds", [(), ("static",), ("static", "passphrase"), ("shamir",)])
def test_nobody_is_asked_without_need(
    tmp_path: Path, terminal: Terminal, kinds: tuple[str, ...]
) -> None:
    automatic_source(configured(tmp_path), record_with(*kinds) if kinds else None)
    passphrase = private(tmp_path / "words", "from the file\n")
    loaded = configured(tmp_path, f'passphrase_file = "{passphrase}"')
    assert automatic_source(loaded, record_with("passphrase")) == Passphrase("from the file")
    assert terminal.asked == 0


def test_nobody_is_asked_who_is_not_there(tmp_path: Path, terminal: Terminal) -> None:
    loaded = configured(tmp_path)
    assert automatic_source(loaded, record_with("passphrase"), may_ask=False) == key_source(loaded)
    terminal.is_there = False
    assert automatic_source(loaded, record_with("passphrase")) == key_source(loaded)
    assert terminal.asked == 0


# --- the data directory -----------------------------------------------------------------------


def test_the_data_directory_is_private(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "data"
    make_data_directory(directory)
    make_data_directory(directory)
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"\[secretstore\] path: .*file"):
        make_data_directory(tmp_path / "file" / "data")
