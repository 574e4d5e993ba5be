import base64
from pathlib import Path

import pytest

from keyserver.crypto import slip39
from keyserver.crypto.randomness import SeededRandom
from keyserver.devnet.secret_search import forms_of, search

SECRET = SeededRandom("secret").bytes(32)
SHARE = slip39.split(SECRET, threshold=2, count=3, identifier=7, rng=SeededRandom("split"))[0]
WORDS = SHARE.mnemonic()


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        SECRET[::-1],
        SECRET.hex().encode(),
        SECRET.hex().upper().encode(),
        str(int.from_bytes(SECRET, "big")).encode(),
        *(base64.b64encode(b"?" * before + SECRET + b"!") for before in range(4)),
        *(base64.urlsafe_b64encode(b"?" * before + SECRET) for before in range(4)),
    ],
)
def test_a_secret_is_found_however_it_is_written(written: bytes, tmp_path: Path) -> None:
    file = tmp_path / "node1" / "data" / "log"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 1001 + written + b"y")
    found = search(tmp_path, {"the key": SECRET}, {})
    assert {(each.file, each.secret) for each in found} == {(file, "the key")}
    assert str(found[0]).startswith(f"{file}: the key, as ")
    assert not search(tmp_path, {"another key": SeededRandom("another").bytes(32)}, {})


def test_part_of_a_share_is_found(tmp_path: Path) -> None:
    words = WORDS.split()
    (tmp_path / "shell.history").write_text("unseal " + " ".join(words[12:24]))
    found = search(tmp_path, {}, {"Ann's share": WORDS})
    assert {each.secret for each in found} == {"Ann's share"}
    (tmp_path / "shell.history").write_text("unseal " + " ".join(words[:4]))
    assert not search(tmp_path, {}, {"Ann's share": WORDS})


def test_what_other_files_hold_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "random").write_bytes(SeededRandom("noise").bytes(100_000))
    assert not search(tmp_path, {"the key": SECRET}, {"a share": WORDS})


def test_no_form_is_so_short_that_it_is_found_by_chance() -> None:
    assert min(map(len, forms_of(SECRET).values())) >= 32
