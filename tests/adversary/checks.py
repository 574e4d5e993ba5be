"""Whether what came of a game is what must follow."""

from itertools import combinations, islice

from keyserver.crypto import ecies
from keyserver.crypto.curve import Point, add, mul_secret, negate, verify_digest
from keyserver.crypto.polynomial import interpolate_secret
from keyserver.crypto.schnorr import Form, verify
from keyserver.model.identifiers import NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord
from keyserver.sessions.core import DeniedError, KeyState, SessionError
from keyserver.sessions.ecdsa_signing.messages import EcdsaPart
from keyserver.sessions.evidence import decode_evidence, judge
from keyserver.sessions.frost_signing.messages import NonceCommitments
from keyserver.sessions.outcomes import (
    EcdsaReady,
    EcdsaResult,
    ShadowReady,
    ShadowResult,
    SignatureReady,
    SignatureResult,
)
from keyserver.sessions.retrieval.messages import Partial
from keyserver.sessions.sharing.messages import Accept
from keyserver.sessions.storing.messages import StoreAck
from keyserver.simulation.adversary.rows import Crashes, Must, Protocol, Replays
from tests.adversary.expectations import (
    Played,
    completes,
    fails,
    failure,
    must_name,
    signers,
    stores,
)
from tests.adversary.play import (
    DOCUMENT_KEY,
    FORMS,
    MESSAGE,
    RETRIEVALS,
    SIGNATURES,
    STORINGS,
    Brought,
    Game,
)
from tests.adversary.sizes import SEVEN, SMALL
from tests.adversary.view import Drawn, interpolated


async def check(game: Game) -> None:
    """Everything that the row promises."""
    assert all(node.is_sound for node in game.honest), "a part of an honest node has ended"
    if not isinstance(game.row.deed, Crashes):
        assert all(node.is_sound for node in game.liars), "a lie has ended its teller"
    await check_names(game)
    if game.watch is not None and game.watch.violation is not None:
        raise game.watch.violation
    if game.size.is_safe and completes(game.row, game.size):
        check_agreement(game)
    if game.size.is_secret:
        await check_secrecy(game)
    if game.late is not None:
        await check_late(game)
    elif game.row.must is Must.DENIED:
        check_denied(game)
    elif not game.liar_leads:
        check_member(game)
        if game.row.must is Must.NOTICED and game.size.decrypts:
            await check_noticed(game)
    else:
        check_coordinator(game)


# --- names ---------------------------------------------------------------------------------------


async def check_names(game: Played) -> None:
    """The culprits are the provable liars at all honest nodes, and never an honest node."""
    expected = must_name(game)
    everybody = set().union(*game.cheating.named.values())
    assert everybody <= game.cheating.view.liars, "an honest node was blamed"
    for node in game.cheating.honest:
        named = game.cheating.named[node.id]
        assert named == everybody, "honest nodes name different nodes"
        assert named == {offence.culprit for offence in await node.store.offences()}
        for offence in await node.store.offences():
            record = await node.store.evidence(offence.evidence)
            assert record is not None
            assert judge(decode_evidence(record)).culprit == offence.culprit
    if expected is None:
        usual = game.row.provable and game.size in (SMALL, SEVEN)
        shown = usual or not game.row.two_faced
        assert everybody or not shown, "nobody was named"
    else:
        assert everybody == expected, f"{len(everybody)} named instead of {len(expected)}"


# --- agreement -----------------------------------------------------------------------------------


def check_agreement(game: Game) -> None:
    """Nothing is open any more, and honest nodes have the same; their shares work."""
    assert game.quiet, "honest nodes do not come to an end"
    check_shares(game)


def check_shares(game: Game) -> None:
    """Any t + 1 shares of honest nodes are the key that all of them know."""
    records = {s.active.record.hash: s.active.record for s in game.states.values() if s.active}
    assert len(records) <= 1, "honest nodes hold different records"
    documents = {s.document.document for s in game.states.values() if s.document}
    assert len(documents) <= 1, "honest nodes hold different document keys"
    for record in records.values():
        shares = [s.share for s in game.states.values() if s.share]
        for chosen in islice(combinations(shares, record.required_nodes), 10):
            secret = interpolate_secret([s.x for s in chosen], [s.value for s in chosen])
            assert secret.public() == record.public, "shares of honest nodes do not fit"


# --- an honest coordinator -----------------------------------------------------------------------


async def check_noticed(game: Game) -> None:
    """The requester finds whose shadows are wrong, and has the right result without them."""
    result = game.brought[-1].result
    assert isinstance(result, ShadowResult)
    wrong = game.wrong_shadows(result)
    assert wrong == set(result.nodes) & game.view.liars
    assert wrong, "no liar was selected"
    again = await game.ask(game.honest[0], exclude=frozenset(game.view.liars))
    assert isinstance(again.result, ShadowResult)
    assert game.opened(again.result) == DOCUMENT_KEY


def check_member(game: Game) -> None:
    """It brings the right result, or fails in the one way that is right."""
    (brought,) = game.brought
    if completes(game.row, game.size):
        assert brought.error is None, f"it failed: {brought.error!r}"
        check_result(game, brought)
        return
    if not fails(game.row, game.size):
        return  # with the liars' help or without
    assert isinstance(brought.error, SessionError), "it completed with too few honest nodes"
    final, codes = failure(game.row, game.size)
    if final is None:
        final = not brought.error.retriable and game.size.liars > game.size.quorums.faulty
    assert brought.error.retriable is not final, f"{brought.error!r}"
    assert brought.error.code in codes, f"{brought.error!r}"


def check_result(game: Game, brought: Brought) -> None:
    """The result is what was asked for, and made without whoever was left out."""
    left_out = game.row.left_out and not game.liar_leads
    match brought.result:
        case CertifiedRecord() as certified:
            signers = {entry.node for entry in certified.certificate.holding.signatures}
            honest = set(game.states)
            assert honest <= signers, "an honest node was left out"
            assert not left_out or signers == honest, "a liar counts as holder"
            assert all(s.active == certified and s.share for s in game.states.values())
        case CertifiedDocumentKey() as stored:
            assert game.states[brought.leader].document == stored
            check_stored(game)
        case ShadowResult() as shadows:
            liars = game.cheating.tellers if isinstance(game.row.deed, Replays) else game.view.liars
            assert not left_out or not set(shadows.nodes) & liars, "a liar's part was used"
            check_shadows(game, shadows)
        case SignatureResult() | EcdsaResult() as signed:
            check_signature(game, signed)
        case bytes() as sealed:
            check_sealed(game, sealed)


def check_signature(game: Game, result: SignatureResult | EcdsaResult) -> None:
    """It is one of the key, for who asked; on a contract its honest signers publish it."""
    public = next(s.active.record.public for s in game.states.values() if s.active)
    if isinstance(result, EcdsaResult):
        verify_digest(MESSAGE, result.signature, public)
        assert result.signature[64] <= 1
    else:
        form = Form.RFC9591 if game.row.protocol is Protocol.FROST else Form.ORIGINAL
        verify(form, public, MESSAGE, result.signature.encode())
    if FORMS[game.row.protocol] == "path":
        assert result.recipient == game.people.reader.public()
        return
    assert result.recipient is None
    ready = [
        out
        for node in game.honest
        for out in node.recorder.outcomes
        if isinstance(out, SignatureReady | EcdsaReady) and out.signature == result.signature
    ]
    assert len(ready) >= signers(game.row, game.size) - game.size.liars
    assert all(out.message == MESSAGE for out in ready)


def check_stored(game: Game) -> None:
    """All honest nodes have what the author wanted stored."""
    for state in game.states.values():
        assert state.active is not None
        assert state.document is not None, "an honest node lacks the document key"
        assert state.document.document == game.document_for(state.active.record.public)


def check_shadows(game: Game, result: ShadowResult) -> None:
    if game.row.must is Must.NOTICED:
        return  # what the requester does then: `check_noticed`
    assert game.opened(result) == DOCUMENT_KEY
    if game.row.protocol is Protocol.SHADOW_CONTRACT:
        check_published(game, result)


def check_published(game: Game, result: ShadowResult) -> None:
    """On a contract every honest member of the selection publishes its part of this result."""
    ready = {
        node.id: out
        for node in game.honest
        for out in node.recorder.outcomes
        if isinstance(out, ShadowReady) and out.shadow in result.shadows
    }
    assert set(ready) == set(result.nodes) - game.view.liars
    for out in ready.values():
        assert (out.participants, out.decrypted_secret) == (result.nodes, result.decrypted_secret)


def check_sealed(game: Game, sealed: bytes) -> None:
    """A document key in the clear, sealed to who asked."""
    if game.row.protocol is Protocol.PLAIN:
        assert ecies.decrypt(game.people.reader, sealed) == DOCUMENT_KEY.raw64
        return
    made = ecies.decrypt(game.people.author, sealed)
    shares = [s.share for s in game.states.values() if s.share]
    (document,) = {s.document.document for s in game.states.values() if s.document}
    record = next(s.active.record for s in game.states.values() if s.active)
    if len(shares) >= record.required_nodes:
        chosen = shares[: record.required_nodes]
        secret = interpolate_secret([s.x for s in chosen], [s.value for s in chosen])
        shared = mul_secret(document.common, secret)
        assert add(document.encrypted, negate(shared)) == Point.from_raw64(made)


# --- a coordinator that lies ---------------------------------------------------------------------


def check_coordinator(game: Game) -> None:
    """It gets nothing, or what all get; an honest node comes to the end afterwards."""
    first, *later = game.brought
    if game.row.must is Must.REFUSED:
        assert first.error is not None or can_by_themselves(game), "the liar has got its result"
        check_nothing_done(game, game.after_liar)
    if game.size.is_safe and completes(game.row, game.size):
        check_final(game, later[-1])


def can_by_themselves(game: Game) -> bool:
    """Whether the liars are enough for it without anybody else."""
    size = game.size
    if game.row.protocol in RETRIEVALS:
        return not size.is_secret
    if game.row.protocol in SIGNATURES:
        return size.liars >= signers(game.row, size)
    if stores(game.row):
        return size.liars >= size.quorums.agreement
    return size.liars >= size.quorums.holders(size.threshold)


def check_nothing_done(game: Game, states: dict[NodeId, KeyState]) -> None:
    """Nothing was installed that was not there before."""
    if stores(game.row):
        assert all(state.document is None for state in states.values())
    elif game.row.protocol in (Protocol.GENERATION, Protocol.BOTH):
        assert all(state.active is None for state in states.values())


_DECIDED_ALREADY = ("ServerKeyAlreadyGenerated", "DocumentKeyAlreadyStored")


def check_final(game: Game, last: Brought) -> None:
    if last.error is None:
        check_result(game, last)
        return
    again = game.row.protocol is Protocol.BOTH and stores(game.row)
    assert again or game.row.must is Must.DECIDED, f"an honest node failed: {last.error!r}"
    assert isinstance(last.error, DeniedError)
    assert last.error.code in _DECIDED_ALREADY
    assert all(state.active is not None for state in game.states.values())
    if game.row.protocol in STORINGS:
        check_stored(game)


def check_denied(game: Game) -> None:
    """What only liars permit is not done."""
    (brought,) = game.brought
    if not can_by_themselves(game):
        assert brought.error is not None, "the liars have got what nobody permits"
        check_nothing_done(game, game.states)
    answers = list(game.view.messages(Accept, StoreAck, Partial, NonceCommitments, EcdsaPart))
    assert answers == [], "an honest node took part"


# --- a node that was away ------------------------------------------------------------------------


async def check_late(game: Game) -> None:
    """It has what was decided, and its share if honest donors suffice; a liar gets nothing."""
    assert game.late is not None
    check_shares(game)
    state = await game.late.store.load(game.key)
    if game.late not in game.honest:
        assert state.share is None or game.row.must is Must.DECIDED, "the liar has got a share"
        return
    if not game.size.is_safe:
        return
    assert state.active is not None, "it does not know the key"
    assert state.active == game.states[game.honest[0].id].active
    check_stored(game)
    if game.row.protocol is Protocol.CATALOGUE or game.size.honest - 1 > game.size.threshold:
        assert state.share is not None, "it has no share"


# --- secrecy -------------------------------------------------------------------------------------


async def check_secrecy(game: Game) -> None:
    """What the liars have together tells them nothing that they may not know."""
    heard = b"|".join(data for _, data in game.view.received)
    for secret in honest_secrets(game):
        assert secret not in heard, "a secret of an honest node was sent in the clear"
    check_deals(game)
    shares = {node.id: (await node.store.load(game.key)).share for node in game.liars}
    own = {node: share for node, share in shares.items() if share is not None}
    record = next((s.active.record for s in game.states.values() if s.active), None)
    if record is None:
        return
    assert record.public not in set(interpolated(list(own.values()))), "the key is known"
    document = next((s.document.document for s in game.states.values() if s.document), None)
    if document is not None and game.row.protocol in RETRIEVALS - {Protocol.PLAIN}:
        decrypted = set(game.view.document_keys(record, document, own))
        assert DOCUMENT_KEY not in decrypted, "the document key is known"
        assert game.view.readable_shadows() == 0, "a shadow was sealed to a liar"


def honest_secrets(game: Game) -> set[bytes]:
    """What honest nodes have drawn, hold, and sign with."""
    drawn = {
        secret
        for seed, secrets in Drawn.drawn.items()
        if any(bytes(node.id) in seed for node in game.honest)
        for secret in secrets
    }
    held = {s.share.value.expose() for s in game.states.values() if s.share}
    keys = {node._signer._secret.expose() for node in game.honest}
    return drawn | held | keys


def check_deals(game: Game) -> None:
    """Of each honest dealer's polynomial the liars see their own places, at most t of them."""
    for receivers in game.view.opened().values():
        assert receivers <= game.view.liars, "the liars have opened what is not for them"
        assert len(receivers) <= game.size.threshold
