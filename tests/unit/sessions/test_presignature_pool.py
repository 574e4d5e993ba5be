"""Presignatures are kept for an hour, for their owner, and go out once."""

from dataclasses import replace

from keyserver.crypto.one_time import OneTime
from keyserver.crypto.presignatures import Presignature
from keyserver.model.identifiers import Hash32, KeyId, NodeId, Nonce32
from keyserver.sessions.presignature_pool import (
    LIFETIME_S,
    MAX_PER_OWNER,
    Owner,
    PresignaturePool,
)
from tests.support.keys import node_secrets
from tests.support.presigners import RECORD_HASH, Presigned, Presigners

NODES = [NodeId.of(secret.public()) for secret in node_secrets(2)]
OWNER, OTHER = (Owner(node, Nonce32(b"\x01" * 32)) for node in NODES)
KEY, OTHER_KEY = KeyId(b"\x0a" * 32), KeyId(b"\x0b" * 32)
MADE = Presigned(Presigners(1, "pool")).presignatures()[0]
NOW = 1_800_000_000


def named(number: int, record_hash: bytes = RECORD_HASH) -> Presignature:
    """A presignature of another name."""
    public = MADE.public
    presigning = replace(
        public.presigning, presig_id=number.to_bytes(32, "big"), record_hash=record_hash
    )
    return replace(MADE, public=replace(public, presigning=presigning))


def name(number: int) -> Hash32:
    return Hash32(number.to_bytes(32, "big"))


def test_it_goes_out_once() -> None:
    pool = PresignaturePool()
    assert pool.keep(named(1), OWNER, KEY, NOW)
    kept = pool.take(name(1), OWNER, NOW)
    assert kept is not None
    assert (kept.owner, kept.record_hash) == (OWNER, RECORD_HASH)
    assert pool.take(name(1), OWNER, NOW) is None
    assert pool.take(name(2), OWNER, NOW) is None
    assert len(pool) == 0


def test_who_does_not_own_it_can_neither_use_it_nor_use_it_up() -> None:
    pool = PresignaturePool()
    pool.keep(named(1), OWNER, KEY, NOW)
    assert pool.take(name(1), OTHER, NOW) is None
    assert pool.take(name(1), OWNER, NOW) is not None


def test_the_same_name_is_not_kept_twice() -> None:
    pool = PresignaturePool()
    assert pool.keep(named(1), OWNER, KEY, NOW)
    assert not pool.keep(replace(named(1), secret=OneTime(MADE.secret)), OTHER, KEY, NOW)  # type: ignore[arg-type]
    assert len(pool) == 1
    assert pool.names == {name(1)}


def test_they_are_forgotten_after_an_hour() -> None:
    pool = PresignaturePool()
    pool.keep(named(1), OWNER, KEY, NOW)
    pool.keep(named(2), OWNER, KEY, NOW + 10)
    assert pool.take(name(1), OWNER, NOW + LIFETIME_S) is None
    assert pool.take(name(2), OWNER, NOW + LIFETIME_S) is not None


def test_an_owner_has_so_many_and_no_more() -> None:
    pool = PresignaturePool()
    assert all(pool.keep(named(number), OWNER, KEY, NOW) for number in range(MAX_PER_OWNER))
    assert not pool.has_room(OWNER.node, NOW)
    assert not pool.keep(named(MAX_PER_OWNER), OWNER, KEY, NOW)
    assert pool.keep(named(MAX_PER_OWNER), OTHER, KEY, NOW), "one owner is not in another's way"
    pool.take(name(0), OWNER, NOW)
    assert pool.has_room(OWNER.node, NOW)
    assert pool.has_room(OWNER.node, NOW + LIFETIME_S)


def test_those_of_other_versions_of_a_key_are_dropped() -> None:
    pool = PresignaturePool()
    pool.keep(named(1), OWNER, KEY, NOW)
    pool.keep(named(2, bytes(32)), OWNER, KEY, NOW)
    pool.keep(named(3), OTHER, OTHER_KEY, NOW)
    pool.drop(KEY, Hash32(bytes(32)))
    assert pool.take(name(1), OWNER, NOW) is None
    assert len(pool) == 2
    pool.drop(KEY)
    assert pool.take(name(2), OWNER, NOW) is None
    assert pool.take(name(3), OTHER, NOW) is not None


def test_those_of_a_process_that_has_ended_are_dropped() -> None:
    pool, again = PresignaturePool(), replace(OWNER, boot_nonce=Nonce32(b"\x02" * 32))
    pool.keep(named(1), OWNER, KEY, NOW)
    pool.keep(named(2), again, KEY, NOW)
    pool.keep(named(3), OTHER, KEY, NOW)
    assert pool.take(name(1), again, NOW) is None, "it was made for another process"
    pool.drop_owner(OWNER.node, again.boot_nonce)
    assert pool.take(name(1), OWNER, NOW) is None
    assert len(pool) == 2
    pool.drop_owner(OWNER.node)
    assert len(pool) == 1
    assert pool.take(name(3), OTHER, NOW) is not None


def test_nothing_kept_is_printed() -> None:
    pool = PresignaturePool()
    pool.keep(named(1), OWNER, KEY, NOW)
    kept = pool.take(name(1), OWNER, NOW)
    assert "Presignature" not in repr(kept)
