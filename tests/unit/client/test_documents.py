"""Encrypted files and their descriptions."""

import json
from pathlib import Path
from typing import Any

import pytest

from keyserver.client import documents
from keyserver.client.documents import Description, decrypt_file, description_path, encrypt_file
from keyserver.client.errors import DocumentError
from keyserver.crypto.curve import Point
from keyserver.crypto.documents import decrypt_document, encrypt_document_with
from keyserver.crypto.ecies import decrypt
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import KeyId
from tests.vectors.files import load, raw, secret

RNG = SeededRandom("documents")
KEY = documents.new_document_key(RNG)
_FILE: dict[str, Any] = load("json-rpc")
_ACCOUNTS = {account["address"].lower(): account for account in _FILE["accounts"]}


def described(size: int, mac: bytes) -> Description:
    return Description(KeyId(bytes(32)), 5, size, mac)


def encrypted(tmp_path: Path, document: bytes) -> tuple[Path, Description]:
    source, target = tmp_path / "plain", tmp_path / "plain.encrypted"
    source.write_bytes(document)
    size, mac = encrypt_file(KEY, source, target, RNG, overwrite=True)
    assert size == target.stat().st_size
    return target, described(size, mac)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 999, 1000, 1001, 5000])
def test_files_are_the_originals_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(documents, "PIECE", 1000)
    document = RNG.bytes(length)
    target, description = encrypted(tmp_path, document)
    content = target.read_bytes()
    assert content == encrypt_document_with(KEY, document, content[-16:])
    assert decrypt_document(KEY, content) == document
    decrypt_file(KEY, target, tmp_path / "again", description)
    assert (tmp_path / "again").read_bytes() == document
    decrypt_file(KEY, target, tmp_path / "unchecked")
    assert (tmp_path / "unchecked").read_bytes() == document


def test_documents_of_the_originals_clients_open(tmp_path: Path) -> None:
    cases = [
        case
        for case in _FILE["cases"]
        if case["method"] == "secretstore_decrypt" and "result" in case
    ]
    assert cases
    for case in cases:
        address, _, key, document = case["request"]["params"]
        account = secret(_ACCOUNTS[address.lower()]["private_key"])
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(raw(document))
        document_key = Point.from_raw64(decrypt(account, raw(key)))
        decrypt_file(document_key, source, target, overwrite=True)
        assert target.read_bytes() == raw(case["result"])


@pytest.mark.parametrize("place", [0, 20, -1])
def test_an_altered_file_is_not_written(tmp_path: Path, place: int) -> None:
    target, description = encrypted(tmp_path, b"transfer 100 to bob")
    content = bytearray(target.read_bytes())
    content[place] ^= 1
    target.write_bytes(content)
    with pytest.raises(DocumentError, match="altered"):
        decrypt_file(KEY, target, tmp_path / "out", description)
    assert not (tmp_path / "out").exists()
    decrypt_file(KEY, target, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() != b"transfer 100 to bob"


def test_a_wrong_size_or_key_is_noticed(tmp_path: Path) -> None:
    target, description = encrypted(tmp_path, b"x" * 50)
    with pytest.raises(DocumentError, match="altered"):
        decrypt_file(KEY, target, tmp_path / "out", described(65, description.mac))
    other = documents.new_document_key(RNG)
    with pytest.raises(DocumentError, match="another one"):
        decrypt_file(other, target, tmp_path / "out", description)


def test_a_file_without_iv_is_none(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(bytes(15))
    with pytest.raises(DocumentError, match="shorter than 16"):
        decrypt_file(KEY, short, tmp_path / "out")


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    target, description = encrypted(tmp_path, b"x")
    before = target.read_bytes()
    with pytest.raises(DocumentError, match="exists"):
        encrypt_file(KEY, tmp_path / "plain", target, RNG)
    assert target.read_bytes() == before
    with pytest.raises(DocumentError, match="exists"):
        decrypt_file(KEY, target, tmp_path / "plain", description)


def test_half_a_file_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, _ = encrypted(tmp_path, b"x" * 5000)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(documents, "_pieces", fail)
    with pytest.raises(OSError, match="disk full"):
        decrypt_file(KEY, target, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain", "plain.encrypted"]


def test_a_description_comes_back(tmp_path: Path) -> None:
    path = description_path(tmp_path / "a.encrypted")
    assert path.name == "a.encrypted.json"
    assert Description.load_if_there(path) is None
    description = described(17, bytes(range(32)))
    documents.write_description(description, path)
    assert Description.load_if_there(path) == description


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": "other"}, "format"),
        ({"version": 2}, "version"),
        ({"key_id": "0x00"}, "key_id"),
        ({"key_id": "zz"}, "key_id"),
        ({"mac": None}, "mac"),
        ({"size": "17"}, "size"),
        ({"chain_id": True}, "chain_id"),
    ],
)
def test_a_wrong_description_is_refused_by_name(
    tmp_path: Path, change: dict[str, object], named: str
) -> None:
    fields = json.loads(described(17, bytes(32)).to_json()) | change
    path = tmp_path / "x.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(DocumentError, match=named):
        Description.load(path)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, f'{{"chain_id": {"9" * 5000}}}'], ids=len
)
def test_a_strangers_description_is_refused_whatever_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "d.json"
    path.write_text(text)
    with pytest.raises(DocumentError, match="is not JSON"):
        Description.load(path)


def test_a_description_must_be_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(DocumentError, match="No such file"):
        Description.load(path)
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(DocumentError, match=r"JSON|format"):
            Description.load(path)


def test_the_mac_is_pinned() -> None:
    """Files must open for ever: the code over a known file under a known key."""
    mac = documents._mac(Point.from_raw64(raw(_ACCOUNTS_POINT)))
    mac.update(b"0123456789abcdef")
    assert mac.hexdigest() == _PINNED_MAC


_ACCOUNTS_POINT = next(a["public"] for a in _FILE["accounts"] if a["name"] == "alice")
_PINNED_MAC = "a15300a6b522a4fe8f396536d99b28b966b145646166197a54da9941b5acfefb"
