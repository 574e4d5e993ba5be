"""Names, patterns and numbers of service keys, whatever they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyserver.api.path_names import decode_name
from keyserver.crypto.boxes import record_context
from keyserver.sealing.errors import BadNameError
from keyserver.sealing.service_keys.exports import versions_hash
from keyserver.sealing.service_keys.model import Pair, Version
from keyserver.sealing.service_keys.names import (
    MOST_BYTES,
    check_key_id,
    check_name,
    check_pattern,
    matches,
    new_key_id,
)

texts = st.text(max_size=80)
names = st.text(
    st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=MOST_BYTES // 4
)


@given(texts)
def test_a_name_is_taken_as_it_is_or_refused(text: str) -> None:
    surrogates = any("\ud800" <= character <= "\udfff" for character in text)
    controls = any(character < " " or "\x7f" <= character <= "\x9f" for character in text)
    size = len(text.encode(errors="replace"))
    if surrogates or controls or not 1 <= size <= MOST_BYTES:
        with pytest.raises(BadNameError, match="owner: "):
            check_name("owner", text)
    else:
        assert check_name("owner", text) == text


@given(names, names, names, names)
def test_two_pairs_have_one_place_only_if_they_are_one(a: str, b: str, c: str, d: str) -> None:
    same_place = record_context("t", "c", (a, b, "id")) == record_context("t", "c", (c, d, "id"))
    assert same_place == (Pair(a, b) == Pair(c, d))


@given(names)
def test_a_name_comes_back_out_of_a_path(name: str) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in name.encode())
    assert decode_name("service", encoded) == name
    assert decode_name("service", encoded.lower()) == name


@given(texts)
def test_what_a_path_holds_is_decoded_in_one_way_or_refused(text: str) -> None:
    try:
        decoded = decode_name("service", text)
    except BadNameError:
        return
    plain = text.isascii() and "%" not in text
    assert decoded == text if plain else decoded != text


@given(names, names)
def test_a_pattern_is_a_name_or_a_beginning(name: str, other: str) -> None:
    if "*" not in name:
        assert matches(check_pattern("service", name), other) == (name == other)
        assert matches(f"{name}*", name + other)
        assert matches(f"{name}*", other) == other.startswith(name)
    assert matches("*", name)


@given(st.binary(min_size=16, max_size=16))
def test_a_new_id_keeps_the_rule_of_ids(data: bytes) -> None:
    class Given:
        def bytes(self, n: int) -> bytes:
            return data[:n]

    key_id = new_key_id(Given())
    assert check_key_id(key_id.upper()) == key_id
    assert key_id[14] == "4"


versions = st.builds(
    lambda service, key_id, seq: Version(Pair("o", service), key_id, seq, 0, 0, "made"),
    names,
    st.uuids().map(str),
    st.integers(1, 2**53 - 1),
)


@given(st.lists(versions, max_size=5), st.randoms(use_true_random=False))
def test_a_set_of_versions_has_one_hash(found: list[Version], random: object) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert versions_hash(shuffled) == versions_hash(found)
    if found:
        assert versions_hash(found[1:]) != versions_hash(found)
