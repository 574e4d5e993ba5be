"""What every store promises about evidence (`keyserver.engine.ports.RecordStore`)."""

from dataclasses import replace

from keyserver.crypto.curve import SecretScalar, mul_base
from keyserver.engine.ports import MAX_OFFENCES, Offence
from keyserver.model.identifiers import Hash32, NodeId, SessionId
from tests.support.stored_values import digest, key_id
from tests.support.stores import StoreSite

LIAR, OTHER = (NodeId.of(mul_base(SecretScalar.from_int(number))) for number in (5, 6))


def offence(number: int = 1, culprit: NodeId = LIAR) -> Offence:
    return Offence(
        culprit,
        digest(f"offence {number}"),
        "wrong_share",
        key_id(1),
        SessionId(bytes(32)),
        1_800_000_000 + number,
        digest(f"record {number}"),
    )


async def test_what_is_kept_survives(site: StoreSite) -> None:
    without_session = replace(offence(2, OTHER), session=None)
    await site.records.keep_evidence(offence(), b"\x00record one")
    await site.records.keep_evidence(without_session, b"")
    for _ in range(2):
        assert list(await site.records.offences()) == [offence(), without_session]
        assert await site.records.evidence(offence().evidence) == b"\x00record one"
        assert await site.records.evidence(without_session.evidence) == b""
        assert await site.records.evidence(Hash32(bytes(32))) is None
        await site.reopen()


async def test_the_first_record_of_a_deed_stays(site: StoreSite) -> None:
    await site.records.keep_evidence(offence(), b"first")
    again = replace(offence(), first_seen=1_900_000_000, evidence=digest("other"))
    await site.records.keep_evidence(again, b"second")
    assert list(await site.records.offences()) == [offence()]
    assert await site.records.evidence(again.evidence) is None


async def test_the_same_deed_of_two_nodes_is_kept_twice(site: StoreSite) -> None:
    for culprit in (LIAR, OTHER):
        await site.records.keep_evidence(offence(culprit=culprit), b"one record")
    assert {kept.culprit for kept in await site.records.offences()} == {LIAR, OTHER}


async def test_of_each_culprit_the_newest_are_kept(site: StoreSite) -> None:
    await site.records.keep_evidence(offence(0, OTHER), b"other")
    many = [offence(number) for number in range(1, MAX_OFFENCES + 4)]
    for one in many:
        await site.records.keep_evidence(one, b"record")
    kept = list(await site.records.offences())
    assert kept == [offence(0, OTHER), *many[3:]]
    assert await site.records.evidence(many[0].evidence) is None
