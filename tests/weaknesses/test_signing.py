"""Attacks on threshold signatures: W3, W4, W12, W14.

Packages and requests that an attacker makes by hand, as coordinator, with credentials that are
right; and deals that it makes as one of the signers.
"""

from dataclasses import dataclass

import pytest

from keyserver.crypto.curve import Scalar, SecretScalar, add, mul_base, negate
from keyserver.model.identifiers import Hash32, KeyId, NodeId, SessionId
from keyserver.model.requests import (
    NodeCredential,
    Operation,
    Presign,
    Request,
    SigningScheme,
    SignMessage,
)
from keyserver.sessions.core import SessionKind, UnavailableError
from keyserver.sessions.ecdsa_presigning import ECDSA_PRESIGNING, OwnPresignature
from keyserver.sessions.ecdsa_presigning import Target as PresigningTarget
from keyserver.sessions.ecdsa_presigning.messages import PresignDeal
from keyserver.sessions.ecdsa_signing.messages import EcdsaPart, EcdsaRequest
from keyserver.sessions.frost_signing.messages import (
    ChosenSigner,
    NonceCommitments,
    Package,
    SignatureShare,
    SignedSigner,
    SignRequest,
)
from keyserver.sessions.frost_signing.terms import Signing
from keyserver.sessions.messages import Refuse
from keyserver.sessions.retrieval.messages import Mode, Partial, Shadow
from keyserver.sessions.runner import Role
from keyserver.simulation.adversary.presigning_deals import wrong_numbers
from keyserver.simulation.cluster import SimulatedNode
from keyserver.simulation.liars import Place
from tests.weaknesses.asking import SHADOW, Asker, path_credential, request_of
from tests.weaknesses.by_hand import point
from tests.weaknesses.intruder import rewriting
from tests.weaknesses.scene import KEY, Scene, account, perform

FIRST, SECOND = Hash32(b"\x55" * 32), Hash32(b"\x56" * 32)


@dataclass(frozen=True)
class SignHash:
    """A request to sign, as a client would make it."""

    number: Operation
    message: Hash32
    key_id: KeyId = KEY

    def payload(self) -> bytes:
        return self.message


def _signing_request(scene: Scene, asker: Asker, counter: int, wanted: SignHash) -> Request:
    """With the user's own credential, made for this very session."""
    opening = asker.opening(counter, wanted)  # type: ignore[arg-type]
    return Request.of(wanted, path_credential(scene.user)(opening))  # type: ignore[arg-type]


async def _ask_for_two_messages(scene: Scene, number: Operation) -> None:
    """Two messages under one session's number, and the same one twice, in every mode."""
    asker = await Asker.at(scene)
    counter = scene.intruder.next_counter()
    for message in (FIRST, SECOND, FIRST):
        for mode in Mode:
            request = _signing_request(scene, asker, counter, SignHash(number, message))
            assert not await asker.ask_as(counter, request, mode=int(mode))
    assert not scene.intruder.heard(Partial, Shadow)
    refusals = scene.intruder.heard(Refuse)
    assert refusals, "the requests must have arrived"


async def _unknown_messages(scene: Scene, kind: SessionKind) -> None:
    """All message types that are set aside for a kind of session."""
    scene.intruder.inbox.clear()
    points = b"".join(point(n).compressed for n in range(1, 8))
    for number in range(0x20):
        for node in scene.honest:
            header = bytes([kind, number]) + SessionId(bytes([number]) * 32)
            scene.intruder.send_bytes(node.id, header + points + bytes(300))
        await scene.settle(2)
    assert not [one for one in scene.intruder.inbox if one.sid is not None]
    assert all(node.api._driver.open_sessions == 0 for node in scene.honest)


class SchnorrAsker:
    """Opens signing sessions by hand, and sends packages of its own making."""

    def __init__(self, scene: Scene, asker: Asker) -> None:
        self.scene = scene
        self.asker = asker

    @classmethod
    async def at(cls, scene: Scene) -> "SchnorrAsker":
        return cls(scene, await Asker.at(scene))

    async def open(
        self, message: Hash32, counter: int | None = None
    ) -> tuple[SessionId, list[SignedSigner]]:
        """Ask all honest nodes; returns what they have committed to, in order."""
        intruder = self.scene.intruder
        number = intruder.next_counter() if counter is None else counter
        wanted = SignMessage(KEY, message, SigningScheme.FROST)
        source = path_credential(self.scene.user)
        request = Request.of(wanted, source(self.asker.opening(number, wanted)))
        sid = intruder.session(SessionKind.SCHNORR, number, request)
        like = self.asker.like
        opening = SignRequest(number, request, like.record_hash, like.permission_block)
        for node in self.scene.honest:
            intruder.send(node.id, sid, opening)
        await self.scene.settle(30)
        made = intruder.heard(NonceCommitments, sid=sid)
        return sid, [
            SignedSigner(ChosenSigner(node, one.hiding, one.binding), one.signature)
            for node, one in sorted(made, key=lambda entry: entry[0])
        ]

    async def send(self, sid: SessionId, *signers: SignedSigner) -> list[NodeId]:
        """Send a package to those it lists; returns who has answered by a share so far."""
        for entry in signers:
            self.scene.intruder.send(entry.signer.node, sid, Package(signers))
        await self.scene.settle()
        return [node for node, _ in self.scene.intruder.heard(SignatureShare, sid=sid)]


def test_w03_two_schnorr_requests_under_one_nonce() -> None:
    """A coordinator has the nonces of one session signed with twice: for two groups of signers, for
    the same group again, and for another message under the same number of a session. With two
    answers under one nonce their difference is a share."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await SchnorrAsker.at(scene)
        counter = scene.intruder.next_counter()
        sid, (one, two, three) = await asker.open(FIRST, counter)
        assert await asker.send(sid, one, two) == [one.signer.node, two.signer.node]
        for again in ((one, two), (one, three), (two, three), (one, two)):
            answered = await asker.send(sid, *again)
            assert len(set(answered)) == len(answered), "one answer per node and nonce"
        assert not (await asker.open(SECOND, counter))[1], "a number opens one session"
        assert not (await asker.open(FIRST, counter))[1]
        await scene.all_is_well()

    perform(play)


def test_w03_nonces_of_other_sessions() -> None:
    """Commitments of one session in a package of another, where the same nodes sign another
    message: a node answers nothing unless the package lists what it committed to for this one."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await SchnorrAsker.at(scene)
        sid, (one, two, _) = await asker.open(FIRST)
        other, (first, second, _) = await asker.open(SECOND)
        assert not await asker.send(other, one, two)
        assert not await asker.send(sid, first, second)
        assert not await asker.send(sid, one, second), "each has ended with what it refused"
        await scene.all_is_well()

    perform(play)


def test_w03_two_answers_under_one_mask() -> None:
    """The same with what nodes do answer: a decryption's mask is used for one question only. The
    coordinator repeats the opening, asks for another document, and for the plain mode."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await Asker.at(scene)
        credential = path_credential(scene.user)
        counter = scene.intruder.next_counter()
        opening = asker.opening(counter, _Retrieve())  # type: ignore[arg-type]
        request = request_of(credential(opening))
        first = await asker.ask_as(counter, request, mode=SHADOW)
        again = await asker.ask_as(counter, request, mode=SHADOW)
        assert len(first) == 3
        assert again == first, "one answer each, in all"
        other = request_of(credential(opening), shadow=False)
        assert not await asker.ask_as(counter, other, mode=Mode.PLAIN)

    perform(play)


class _Retrieve(SignHash):
    def __init__(self) -> None:
        super().__init__(Operation.RETRIEVE_SHADOW, FIRST)

    def payload(self) -> bytes:
        return b""


async def presigned(scene: Scene, at: SimulatedNode) -> OwnPresignature:
    """A presignature of a node's own, made with three others or itself among them."""
    record = await scene.victim.api.find_record(KEY)
    assert record is not None
    signers = tuple(sorted(node.id for node in (*scene.honest[:2], scene.intruder.node)))
    target = PresigningTarget(record, signers)
    made = await at.api._driver.execute(
        ECDSA_PRESIGNING, Presign(KEY), lambda _: NodeCredential(), target
    )
    assert isinstance(made, OwnPresignature)
    return made


def test_w04_two_ecdsa_digests_under_one_presignature() -> None:
    """A coordinator asks for parts of ECDSA signatures of two digests with one presignature, of one
    digest in two sessions at once, and again after a request that is refused."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker, intruder = await Asker.at(scene), scene.intruder
        signers = scene.honest[:2]

        async def ask(made: OwnPresignature, *messages: Hash32, user: SecretScalar) -> int:
            """How many parts come of requests that are sent without waiting for answers."""
            before = len(intruder.heard(EcdsaPart))
            for message in messages:
                counter = intruder.next_counter()
                wanted = SignMessage(KEY, message, SigningScheme.ECDSA)
                source = path_credential(user)
                request = Request.of(wanted, source(asker.opening(counter, wanted)))
                sid = intruder.session(SessionKind.ECDSA, counter, request)
                like = asker.like
                opening = EcdsaRequest(
                    counter, request, like.record_hash, made.presig_id, like.permission_block
                )
                for node in signers:
                    intruder.send(node.id, sid, opening)
            await scene.settle(30)
            return len(intruder.heard(EcdsaPart)) - before

        user = scene.user
        one, two = [await presigned(scene, intruder.node) for _ in range(2)]
        assert await ask(one, FIRST, SECOND, FIRST, user=user) == 2, "one part of each signer"
        assert await ask(one, FIRST, SECOND, user=user) == 0
        allowed = account(user)
        scene.deny(lambda who: who == allowed)
        assert await ask(two, FIRST, user=SecretScalar.from_int(5)) == 0
        assert await ask(two, FIRST, user=user) == 0, "it is lost with the request"
        theirs = await presigned(scene, signers[0])
        assert await ask(theirs, FIRST, user=user) == 0, "it is another node's"
        pools = [node.api._driver._contexts.presignatures for node in signers]
        assert [len(pool) for pool in pools] == [1, 1], "and stays with those who keep it"
        await scene.all_is_well()

    perform(play)


def test_w12_wrong_shares_of_zero() -> None:
    """A dealer gives out wrong shares of zero while presignatures are made: every signature would
    be wrong, and nobody would know why. Here it is named before there is a presignature."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        lie = wrong_numbers(1)

        def told(_: NodeId, deal: PresignDeal) -> PresignDeal:
            table = scene.intruder.node.api._driver._table
            session = table.get((scene.intruder.sid, Role.PARTICIPANT))
            assert session is not None
            assert session.runner is not None
            runner = session.runner
            victim = Place(runner.ctx, runner.phase, scene.intruder.id, None)
            wrong: PresignDeal = lie(victim, deal)
            return wrong

        scene.intruder.rewrite = rewriting(PresignDeal=told)
        with pytest.raises(UnavailableError) as failed:
            await presigned(scene, scene.victim)
        assert failed.value.failed == {scene.intruder.id}
        assert scene.blamed == {scene.intruder.id}
        scene.intruder.rewrite = lambda _, message: message
        await presigned(scene, scene.victim)
        await scene.all_is_well()

    perform(play)


def test_w14_last_speaker_chooses_the_nonce() -> None:
    """A coordinator that is a holder, too, hears the commitments of all others in many sessions at
    once before it chooses its own, so that the nonces cancel out. The factors that they are
    multiplied by depend on all of them: what comes out is no nonce that it knows."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await SchnorrAsker.at(scene)
        active = (await scene.states())[0].active
        assert active is not None
        seen: set[bytes] = set()
        for _ in range(8):
            sid, (one, *_) = await asker.open(FIRST)
            theirs = one.signer
            hiding = add(mul_base(Scalar(5)), negate(theirs.hiding))
            assert hiding is not None
            own = ChosenSigner(scene.intruder.id, hiding, negate(theirs.binding))
            signing = Signing(sid, active.record, Operation.SIGN_FROST, FIRST)
            signed = signing.commitment_digest(own)
            entries = sorted(
                (one, SignedSigner(own, scene.intruder.sign(signed))),
                key=lambda entry: entry.signer.node,
            )
            assert await asker.send(sid, *entries)
            seen |= {theirs.hiding.compressed, theirs.binding.compressed}
            package = signing.package([entry.signer for entry in entries])
            assert package.nonce != mul_base(Scalar(5))
        assert len(seen) == 8 * 2, "nobody uses a nonce twice"
        await scene.all_is_well()

    perform(play)
