"""Where the sealing key comes from, and which of its sources wins."""

from pathlib import Path

import pytest

from keyserver.app.config import Loaded, load
from keyserver.app.store import key_source, make_data_directory
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


def test_the_data_directory_is_private(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "data"
    make_data_directory(directory)
    make_data_directory(directory)
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"\[secretstore\] path: .*file"):
        make_data_directory(tmp_path / "file" / "data")
