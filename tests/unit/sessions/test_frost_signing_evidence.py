"""What convicts a signer, and what does not."""

from dataclasses import replace
from functools import cache

import pytest

from keyserver.crypto.curve import Scalar
from keyserver.model.identifiers import Hash32, SessionId, Signature
from keyserver.sessions.conviction import InvalidEvidenceError, Rule, judge
from keyserver.sessions.core import Received
from keyserver.sessions.evidence import decode_evidence, encode_evidence
from keyserver.sessions.frost_signing.evidence import WrongSignatureShare
from keyserver.sessions.frost_signing.messages import ChosenSigner, SignatureShare
from keyserver.sessions.frost_signing.phases import AwaitingSignatureShares
from keyserver.simulation.liars import OTHER_POINT
from tests.support.delivery import Delivery
from tests.support.key_life import generate, sign


@cache
def made() -> tuple[Delivery, AwaitingSignatureShares, WrongSignatureShare]:
    """A session, and its first share as if it were wrong."""
    net = Delivery(4)
    sign(net, generate(net, 1))
    for moment in net.moments:
        phase, event = moment.before, moment.event
        share = event.message if isinstance(event, Received) else None
        if isinstance(phase, AwaitingSignatureShares) and isinstance(share, SignatureShare):
            assert isinstance(event, Received)
            signers, signing = phase.signers, phase.signing
            values = (share.value, share.signature)
            return net, phase, WrongSignatureShare(signing, signers, event.sender, *values)
    raise AssertionError("nobody has sent a share")


def signed(record: WrongSignatureShare) -> WrongSignatureShare:
    """The same, signed by its maker for what it says."""
    named = record.signing.package_hash(record.signers)
    digest = record.signing.share_digest(record.maker, named, record.value)
    return replace(record, signature=made()[0].by_id[record.maker].signer.sign(digest))


def wrong() -> WrongSignatureShare:
    record = made()[2]
    return signed(replace(record, value=record.value + Scalar(1)))


def acquitted(record: WrongSignatureShare, why: str) -> None:
    with pytest.raises(InvalidEvidenceError, match=why):
        judge(record)


def test_a_wrong_share_convicts_by_the_bytes_alone() -> None:
    conviction = judge(decode_evidence(encode_evidence(wrong())))
    assert conviction.culprit == made()[2].maker
    assert conviction.rule is Rule.WRONG_SIGNATURE_SHARE
    assert conviction.session == made()[1].signing.sid


def test_a_right_share_convicts_nobody() -> None:
    acquitted(made()[2], "right")


def test_a_share_that_its_maker_did_not_sign_convicts_nobody() -> None:
    right = made()[2]
    acquitted(replace(right, value=right.value + Scalar(1)), "not signed")
    acquitted(replace(wrong(), signature=Signature(bytes(65))), "not signed")


def test_a_share_for_another_package_convicts_nobody() -> None:
    """A coordinator shows what an honest node has signed, with other commitments of the others."""
    right = made()[2]
    other = next(one for one in right.signers if one.node != right.maker)
    swapped = tuple(
        ChosenSigner(one.node, OTHER_POINT, one.binding) if one == other else one
        for one in right.signers
    )
    acquitted(replace(right, signers=swapped), "not signed")
    signing = right.signing
    for changed in (
        replace(signing, sid=SessionId(bytes(32))),
        replace(signing, message=Hash32(bytes(32))),
        replace(signing, operation=8),
        replace(signing, record=replace(signing.record, version=9)),
    ):
        acquitted(replace(right, signing=changed), "not signed")


def test_lists_that_are_no_packages_convict_nobody() -> None:
    right = wrong()
    for signers in ((), right.signers[:1], right.signers[::-1], right.signers[:1] * 2):
        acquitted(signed(replace(right, signers=signers)), "in order")
    outsider = next(m.id for m in made()[0].members if m.id not in {s.node for s in right.signers})
    acquitted(signed(replace(right, maker=outsider)), "not among")
    acquitted(replace(right, signing=replace(right.signing, operation=9)), "operation")
