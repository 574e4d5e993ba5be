import json
from dataclasses import replace
from typing import Any

import pyrage
import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.slip39 import combine, split
from keyserver.sealing.errors import (
    BadSharingError,
    SealRecordDamagedError,
    ShareMalformedError,
    ShareUnknownError,
    ShareWrongSetError,
)
from keyserver.sealing.handing_out import Sharing, share_secret
from keyserver.sealing.record import SealRecord
from keyserver.sealing.secret_key import SecretKey
from keyserver.sealing.shares import ShareSlot, check_share, parse_share, share_document
from tests.vectors.files import load

SEAL = load("sealing")["seal_v1"]
RECORD = SealRecord.from_json(json.dumps(SEAL["seal_record"]))
HISTORY = [{"epoch": 1, "identifier": 7152, "replaced_at": 1}]
RENEWED = SealRecord.from_json(json.dumps({**SEAL["rekey"]["seal_record"], "history": HISTORY}))
WORDS = SEAL["mnemonics"]
DOCUMENT = json.loads(SEAL["age_encrypted_share"]["plaintext"])


def slot() -> ShareSlot:
    found = ShareSlot.of(RECORD)
    assert found is not None
    return found


def document(**changes: Any) -> str:
    return json.dumps({**DOCUMENT, **changes})


# --- the slot ---------------------------------------------------------------------------------


def test_the_slot_is_written_as_it_was_read() -> None:
    assert slot().params() == RECORD.slots[0].params
    assert (slot().threshold, slot().count, slot().epoch, slot().slot_id) == (3, 5, 1, 1)


def test_a_record_may_have_no_shares() -> None:
    alone = replace(RECORD, slots=RECORD.slots[1:])
    assert ShareSlot.of(alone) is None
    with pytest.raises(ShareWrongSetError, match="does not open with shares"):
        check_share(WORDS[0], alone)


@pytest.mark.parametrize(
    "changes",
    [
        {"scheme": "other"},
        {"extendable": False},
        {"iteration_exponent": 1},
        {"identifier": 1 << 15},
        {"identifier": "7152"},
        {"groups": [{"threshold": 3, "count": 5}] * 2},
        {"groups": [{"threshold": 6, "count": 5}]},
        {"groups": []},
        {"groups": [{"threshold": 3}]},
        {"share_salt": "zz"},
        {"commitments": [["00" * 32] * 4]},
        {"commitments": [["00"] * 5]},
        {"more": 1},
    ],
    ids=str,
)
def test_a_slot_of_another_form_is_damage(changes: dict[str, Any]) -> None:
    odd = replace(RECORD.slots[0], params={**RECORD.slots[0].params, **changes})
    with pytest.raises(SealRecordDamagedError, match="slot 1 is no slot for shares"):
        ShareSlot.of(replace(RECORD, slots=(odd,)))


# --- what a text is ---------------------------------------------------------------------------


@pytest.mark.parametrize("member", range(5))
def test_the_vectors_shares_are_known(member: int) -> None:
    for text in (WORDS[member], WORDS[member].upper(), f"\n {WORDS[member]}\t"):
        assert check_share(text, RECORD).member_index == member


def test_a_share_document_is_known() -> None:
    assert check_share(SEAL["age_encrypted_share"]["plaintext"], RECORD).member_index == 1
    assert check_share(f" \n{document()}", RECORD).member_index == 1
    read = parse_share(document())
    assert (read.seal_id, read.epoch, read.slot_id) == (RECORD.seal_id, 1, 1)


def test_holders_check_against_what_everybody_sees() -> None:
    public = RECORD.public()
    assert "wrapped_root" not in json.dumps(public)
    assert check_share(WORDS[2], SealRecord.from_public(public)).member_index == 2
    for odd in ({}, {"slots": 1}, {"slots": [1]}, {**public, "epoch": -1}):
        with pytest.raises(SealRecordDamagedError):
            SealRecord.from_public(odd)


def test_the_document_is_the_vectors() -> None:
    share = check_share(WORDS[1], RECORD)
    assert share_document(slot(), share).decode() == SEAL["age_encrypted_share"]["plaintext"]


@pytest.mark.parametrize(
    ("text", "said", "word", "words"),
    [
        ("", "0 words, need 33", None, 0),
        (" ".join(WORDS[0].split()[:32]), "32 words", None, 32),
        (f"{WORDS[0]} academic", "34 words", None, 34),
        (WORDS[0].replace("lilac", "purple!"), "word 2 is not", 2, None),
        (WORDS[0].replace("lilac", "academic"), "checksum", None, None),
        ("8" + "0" * 162, "1 words", None, 1),
        ("x" * 4097, "longer than 4096", None, None),
        ("{", "not a share document", None, None),
        ("[" * 4000, "1 words", None, 1),
        ('{"a":' * 700, "not a share document", None, None),
        ("{}", "not a share document", None, None),
        (document(v=2), "not a share document", None, None),
        (document(v=True), "not a share document", None, None),
        (document(more=1), "not a share document", None, None),
        (document(epoch=True), "not a share document", None, None),
        (document(epoch=-1), "not a share document", None, None),
        (document(seal_id="zz"), "not a share document", None, None),
        (document(seal_id=5), "not a share document", None, None),
        (document(mnemonic=5), "not a share document", None, None),
        (document(mnemonic="academic"), "1 words", None, 1),
        (document(member=2), "another member than it says", None, None),
    ],
)
def test_what_is_no_share(text: str, said: str, word: int | None, words: int | None) -> None:
    with pytest.raises(ShareMalformedError, match=said) as caught:
        check_share(text, RECORD)
    assert (caught.value.word, caught.value.words) == (word, words)
    assert "purple" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_share_of_another_store() -> None:
    with pytest.raises(ShareWrongSetError, match="of another store") as caught:
        check_share(document(seal_id="00" * 16), RECORD)
    assert caught.value.epoch is None


@pytest.mark.parametrize("other", [{"epoch": 2}, {"slot_id": 2}], ids=str)
def test_a_document_that_names_another_set_is_of_that_one(other: dict[str, int]) -> None:
    with pytest.raises(ShareWrongSetError, match="but set 1 is in force") as caught:
        check_share(document(**other), RECORD)
    assert caught.value.epoch == other.get("epoch", 1)


@pytest.mark.parametrize("text", [WORDS[0], document()], ids=["words", "document"])
def test_a_share_that_was_replaced_is_told_so(text: str) -> None:
    with pytest.raises(ShareWrongSetError, match="set 1") as caught:
        check_share(text, RENEWED)
    assert caught.value.epoch == 1


def test_a_share_of_an_unknown_set() -> None:
    with pytest.raises(ShareWrongSetError, match=r"not of the set in force$") as caught:
        check_share(SEAL["rekey"]["mnemonics"][0], RECORD)
    assert caught.value.epoch is None


@pytest.mark.parametrize("changes", [{"member_threshold": 4}, {"iteration_exponent": 1}])
def test_a_share_that_says_otherwise_than_its_set(changes: dict[str, Any]) -> None:
    odd = replace(check_share(WORDS[0], RECORD), **changes)
    with pytest.raises(ShareWrongSetError):
        check_share(odd.mnemonic(), RECORD)


def test_a_foreign_share_with_the_same_identifier_is_unknown() -> None:
    foreign = split(bytes(32), threshold=3, count=8, identifier=7152, rng=SeededRandom(1))
    for share in (foreign[0], foreign[7]):
        with pytest.raises(ShareUnknownError, match="never handed out"):
            check_share(share.mnemonic(), RECORD)


def test_a_share_of_one_member_is_not_anothers() -> None:
    odd = replace(check_share(WORDS[0], RECORD), member_index=1)
    with pytest.raises(ShareUnknownError):
        check_share(odd.mnemonic(), RECORD)


# --- handing out ------------------------------------------------------------------------------

SECRET = SecretKey(bytes(range(32)))


def made(sharing: Sharing, used: tuple[int, ...] = (), seed: object = 0) -> Any:
    return share_secret(
        SECRET,
        sharing,
        seal_id=bytes(16),
        epoch=3,
        slot_id=4,
        used_identifiers=used,
        rng=SeededRandom(str(seed)),
    )


def test_shares_open_and_match_their_commitments() -> None:
    new = made(Sharing(2, 3))
    shares = [parse_share(handed.content.decode()).share for handed in new.shares]
    assert all(new.slot.fits(share) and new.slot.has(share) for share in shares)
    assert combine(shares[1:]) == SECRET.expose()
    assert parse_share(new.shares[2].content.decode()).epoch == 3


def test_an_identifier_is_used_once() -> None:
    first = made(Sharing(2, 3)).slot.identifier
    assert made(Sharing(2, 3), used=(first,)).slot.identifier != first


def test_every_share_is_encrypted_to_its_holder() -> None:
    identities = [pyrage.x25519.Identity.generate() for _ in range(3)]
    recipients = tuple(str(identity.to_public()) for identity in identities)
    new = made(Sharing(2, 3, recipients))
    for handed, identity, recipient in zip(new.shares, identities, recipients, strict=True):
        assert handed.recipient == recipient
        opened = pyrage.decrypt(handed.content, [identity])
        assert parse_share(opened.decode()).share.member_index == handed.member
        with pytest.raises(pyrage.DecryptError):
            pyrage.decrypt(handed.content, [pyrage.x25519.Identity.generate()])


def test_the_vectors_encrypted_share_opens() -> None:
    vector = SEAL["age_encrypted_share"]
    identity = pyrage.x25519.Identity.from_str(vector["identity"])
    assert str(identity.to_public()) == vector["recipient"]
    opened = pyrage.decrypt(bytes.fromhex(vector["ciphertext_hex"]), [identity])
    assert opened.decode() == vector["plaintext"]
    assert check_share(opened.decode(), RECORD).member_index == 1


AGE = "age1kfkrpd4nundnk5mnz082mfqz59mg9y8szz42720yjnql65nkjvfq80jznk"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 3), "1 <= threshold"),
        ((4, 3), "1 <= threshold"),
        ((2, 17), "shares <= 16"),
        ((1, 2), "it would open alone"),
        ((2, 3, (AGE,)), "1 for 3 shares"),
        ((2, 2, (AGE, AGE)), "named twice"),
        ((2, 2, (AGE, AGE.upper())), "named twice"),
        ((1, 1, ("age1nobody",)), "number 1 is no age recipient"),
        ((1, 1, ("-----BEGIN PGP PUBLIC KEY BLOCK-----",)), "number 1 is no age recipient"),
    ],
)
def test_impossible_sharings_are_named(arguments: Any, said: str) -> None:
    with pytest.raises(BadSharingError, match=said):
        Sharing(*arguments)


def test_shares_do_not_print() -> None:
    new = made(Sharing(2, 3))
    words = parse_share(new.shares[0].content.decode()).share.mnemonic().split()
    assert words[5] not in repr(new).replace(words[0], "")
    assert "mnemonic" not in repr(new)
