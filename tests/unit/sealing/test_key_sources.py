import base64
import ctypes
import pickle
from pathlib import Path

import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.sealing.errors import KeySourceError
from keyserver.sealing.key_sources import (
    KeyFile,
    KeyText,
    Passphrase,
    new_passphrase_params,
    parse_key,
    passphrase_key,
    static_key,
)
from keyserver.sealing.secret_key import SecretKey

KEY = bytes(range(100, 132))


@pytest.mark.parametrize(
    "form",
    [KEY, KEY.hex().encode(), KEY.hex().upper().encode() + b"\n", base64.b64encode(KEY) + b"\r\n"],
    ids=["raw", "hex", "hex-line", "base64-line"],
)
def test_a_key_is_raw_hex_or_base64(form: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(form)
    path.chmod(0o600)
    assert static_key(KeyFile(path)) == SecretKey(KEY)


@pytest.mark.parametrize(
    "form",
    [b"", KEY[:31], KEY + b"!", b"g" * 64, b"\xff" * 64, base64.b64encode(KEY[:31]), b"=" * 44],
)
def test_anything_else_is_refused_without_showing_it(form: bytes) -> None:
    with pytest.raises(KeySourceError, match="KEY: need 32 bytes, raw, hexadecimal or base64"):
        parse_key(form, "KEY")


def test_a_key_in_a_variable_does_not_print() -> None:
    source = KeyText("SEAL_KEY", KEY.hex())
    assert static_key(source) == SecretKey(KEY)
    assert KEY.hex() not in repr(source)
    assert "words" not in repr(Passphrase("words"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(KEY)
    path.chmod(mode)
    with pytest.raises(KeySourceError, match=f"mode {mode:04o}.*chmod 600"):
        static_key(KeyFile(path))


def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(KeySourceError, match="Is a directory"):
        static_key(KeyFile(tmp_path))


def test_new_passphrase_slots_cost_what_they_should() -> None:
    params = new_passphrase_params(SeededRandom(1))
    assert (params["n"], params["r"], params["p"]) == (32768, 8, 3)
    key = passphrase_key(Passphrase("words"), params)
    assert key == passphrase_key(Passphrase("words"), params)
    assert key != passphrase_key(Passphrase("word"), params)


def test_scrypt_is_that_of_the_rfc() -> None:
    # RFC 7914, section 12, third vector (its first 32 bytes; the salt is given as hexadecimal)
    params = {"kdf": "scrypt", "n": 16384, "r": 8, "p": 1, "salt": b"SodiumChloride".hex()}
    key = passphrase_key(Passphrase("pleaseletmein"), params)
    assert key.expose().hex() == "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"


def test_a_secret_key_keeps_to_itself() -> None:
    key = SecretKey(KEY)
    assert repr(key) == "SecretKey(<redacted>)"
    assert (key == KEY) is False
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        hash(key)
    with pytest.raises(ValueError, match="need 32 bytes, got 31"):
        SecretKey(KEY[:31])
    buffer = key._key
    key.__del__()
    assert bytes(buffer) == bytes(32)


def test_a_key_is_locked_where_the_platform_can(monkeypatch: pytest.MonkeyPatch) -> None:
    key = SecretKey(bytes(range(32)))
    asked: list[int] = []

    class Library:
        def __init__(self, _: None) -> None:
            pass

        @staticmethod
        def mlock(address: object, size: object) -> int:
            asked.append(size.value)  # type: ignore[attr-defined]
            return answers.pop()

    answers = [-1, 0]
    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert key.lock()
    assert not key.lock()
    assert asked == [32, 32]
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not key.lock()
    assert key.expose() == bytes(range(32))
