"""The file of a backup: what is read back, and what is refused."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyserver.storage import backup_file
from keyserver.storage.backup_file import (
    MANIFEST_NAME,
    AuditHead,
    BackupError,
    Manifest,
    Part,
    PartWriter,
    decode_row,
    encode_row,
    open_archive,
    write_archive,
)

COLUMNS = (("id", "integer"), ("box", "bytes"), ("name", "text"), ("done", "boolean"))
ROWS = [(1, b"\x00\xff", "Öl\n", True), (-(2**62), b"", "", False), (3, None, None, None)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    return tmp_path / "parts"


@pytest.fixture
def manifest(folder: Path) -> Manifest:
    writer = PartWriter(folder, "things", COLUMNS)
    for row in ROWS:
        writer.write(row)
    return Manifest(
        created_at=1_800_000_000_123,
        software="0.1.0",
        schema="0008",
        seal_id="ab" * 16,
        node_id="cd" * 64,
        epoch=2,
        keyring_version=3,
        terms=(1, 2),
        opens_with=("shamir", "static"),
        audit=(AuditHead("audit.jsonl", 7, "ef" * 32),),
        parts=(writer.close(),),
    )


@pytest.fixture
def made(folder: Path, manifest: Manifest, tmp_path: Path) -> Path:
    out = tmp_path / "backup"
    write_archive(out, manifest, folder, [])
    return out


def test_it_is_read_as_it_was_written(made: Path, manifest: Manifest) -> None:
    with open_archive(made) as archive:
        assert archive.manifest == manifest
        archive.check()
        (part,) = archive.manifest.parts
        assert [tuple(row.values()) for row in archive.rows(part)] == ROWS
        assert [tuple(row) for row in archive.rows(part)] == [("id", "box", "name", "done")] * 3
    assert made.stat().st_mode & 0o777 == 0o600
    assert (manifest.rows, manifest.parts[0].rows) == (3, 3)


def test_a_file_that_is_there_stays(
    folder: Path, manifest: Manifest, made: Path, tmp_path: Path
) -> None:
    before = made.read_bytes()
    with pytest.raises(BackupError, match="never overwritten"):
        write_archive(made, manifest, folder, [])
    assert made.read_bytes() == before


# --- what is no backup ------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(BackupError) as caught, open_archive(path) as archive:
        archive.check()
    return str(caught.value)


@pytest.mark.parametrize("data", [b"", b"no archive" * 200, b"\x1f\x8b" + bytes(600)])
def test_other_files_are_no_backups(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert "is no backup" in refusal(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "missing: No such file" in refusal(tmp_path / "missing")


@pytest.mark.parametrize("kept", [0.4, 0.6])
def test_half_a_backup_is_damaged(made: Path, kept: float) -> None:
    data = made.read_bytes().rstrip(b"\0")
    made.write_bytes(data[: int(len(data) * kept)])
    assert refusal(made)


def archive_of(path: Path, members: Iterator[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def members_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda all_: {"other": b""} | all_, "does not begin with a manifest"),
        (lambda all_: all_ | {"tables/more.jsonl": b""}, "not those that its manifest lists"),
        (lambda all_: {MANIFEST_NAME: all_[MANIFEST_NAME]}, "not those that its manifest lists"),
        (lambda all_: all_ | {"tables/things.jsonl": b"[]\n"}, "was altered"),
        (lambda all_: all_ | {MANIFEST_NAME: b"{"}, "manifest is damaged"),
        (lambda all_: all_ | {MANIFEST_NAME: b"[]"}, "manifest is damaged"),
    ],
)
def test_parts_that_were_changed_are_found(
    made: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]], said: str
) -> None:
    members = change(members_of(made))
    made.unlink()
    assert said in refusal(archive_of(made, iter(members.items())))


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": "1"},
        {"epoch": True},
        {"epoch": -1},
        {"created_at": None},
        {"schema": "../8"},
        {"schema": 8},
        {"seal_id": 5},
        {"seal_id": "AB" * 16},
        {"node_id": "cd" * 63},
        {"keyring_version": 1 << 53},
        {"terms": [1, "2"]},
        {"terms": 5},
        {"opens_with": [1]},
        {"audit": [{"file": "x"}]},
        {"more": 1},
        {"parts": [{}]},
    ],
)
def test_a_manifest_with_other_values_is_damaged(
    manifest: Manifest, change: dict[str, Any]
) -> None:
    text = json.dumps(manifest.to_json() | change).encode()
    with pytest.raises(BackupError, match="manifest is damaged"):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        {"table": "../etc"},
        {"table": None},
        {"columns": [["id"]]},
        {"columns": [["id", "float"]]},
        {"columns": [["id; --", "text"]]},
        {"rows": -1},
        {"rows": "3"},
        {"size": None},
        {"sha256": "ab"},
    ],
)
def test_a_part_with_other_values_is_damage(manifest: Manifest, change: dict[str, Any]) -> None:
    data = manifest.to_json()
    (part,) = data["parts"]
    text = json.dumps(data | {"parts": [part | change]}).encode()
    with pytest.raises(BackupError, match="manifest is damaged"):
        Manifest.from_json(text)


def test_no_nesting_ends_the_program(manifest: Manifest) -> None:
    deep = b"[" * 100_000
    with pytest.raises(BackupError, match="manifest is damaged"):
        Manifest.from_json(deep)
    with pytest.raises(BackupError, match="no row"):
        decode_row(manifest.parts[0], deep)


@pytest.mark.parametrize("name", [MANIFEST_NAME, "tables/things.jsonl"])
def test_a_link_is_no_part(made: Path, name: str) -> None:
    members = members_of(made)
    made.unlink()
    with tarfile.open(made, "w") as tar:
        for each, data in members.items():
            member = tarfile.TarInfo(each)
            if each == name:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
            else:
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert f"{name}: is no file" in refusal(made)


@pytest.mark.parametrize("name", [MANIFEST_NAME, "tables/things.jsonl"])
def test_a_file_with_holes_is_no_part(made: Path, manifest: Manifest, name: str) -> None:
    """Some bytes of it stand for any number."""
    members, holes = members_of(made), 1 << 40
    data = manifest.to_json()
    data["parts"][0]["size"] = holes
    members[MANIFEST_NAME] = json.dumps(data).encode()
    made.unlink()
    with tarfile.open(made, "w", format=tarfile.PAX_FORMAT) as tar:
        for each, content in members.items():
            member = tarfile.TarInfo(each)
            member.size = len(content)
            if each == name:
                member.pax_headers = {
                    "GNU.sparse.map": f"0,{len(content)}",
                    "GNU.sparse.size": str(holes),
                }
            tar.addfile(member, io.BytesIO(content))
    assert f"{name}: is no file" in refusal(made)


def test_a_part_is_as_long_as_the_manifest_says(made: Path, manifest: Manifest) -> None:
    members = members_of(made)
    data = manifest.to_json()
    data["parts"][0]["size"] += 1
    made.unlink()
    members[MANIFEST_NAME] = json.dumps(data).encode()
    assert "was altered" in refusal(archive_of(made, iter(members.items())))


def test_no_line_is_longer_than_it_may_be(
    made: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = max(len(encode_row(row)) for row in ROWS)
    monkeypatch.setattr(backup_file, "MAX_LINE", longest)
    with open_archive(made) as archive:
        (part,) = archive.manifest.parts
        assert len(list(archive.rows(part))) == len(ROWS)
        monkeypatch.setattr(backup_file, "MAX_LINE", longest - 1)
        with pytest.raises(BackupError, match="longer than"):
            list(archive.rows(part))
    writer = PartWriter(folder, "others", COLUMNS)
    with pytest.raises(BackupError, match="others: a row is longer than"):
        writer.write(max(ROWS, key=lambda row: len(encode_row(row))))
    writer.close()


def test_a_table_is_there_once(manifest: Manifest) -> None:
    data = manifest.to_json()
    text = json.dumps(data | {"parts": [*data["parts"], *data["parts"]]}).encode()
    with pytest.raises(BackupError, match="manifest is damaged"):
        Manifest.from_json(text)


@pytest.mark.parametrize("change", [{"format": 2}, {"kind": "something else"}])
def test_other_formats_are_not_known(manifest: Manifest, change: dict[str, Any]) -> None:
    text = json.dumps(manifest.to_json() | change).encode()
    with pytest.raises(BackupError, match="no backup of a format that this program knows"):
        Manifest.from_json(text)


# --- rows -------------------------------------------------------------------------------------

PART = Part("things", COLUMNS, 1, 1, "00" * 32)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_comes_back(row: tuple[Any, ...]) -> None:
    assert tuple(decode_row(PART, encode_row(row)).values()) == row


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"5",
        b'[1, "AA=="]',
        b'["1", "AA==", "x", true]',
        b'[true, "AA==", "x", true]',
        b'[1, "A", "x", true]',
        b'[1, "AA==", 5, true]',
        b'[1, "AA==", "secret", 1]',
        b'[1, "AA==", "\\ud800", true]',
        b"[9223372036854775808, null, null, null]",
        b'[1.5, "AA==", "x", true]',
        b'[1, "AA==", "x", true, 5]',
        b"\xff",
    ],
)
def test_a_line_that_is_no_row_is_refused_without_being_shown(line: bytes) -> None:
    with pytest.raises(BackupError, match=r"tables/things\.jsonl: a line is no row") as caught:
        decode_row(PART, line)
    assert "secret" not in str(caught.value)
