"""Whether what came of a redistribution or of a set change is what must follow."""

from itertools import combinations, islice, product

from keyserver.crypto.polynomial import interpolate_secret
from keyserver.model.keys import CertifiedRecord, KeyRecord, KeyShare
from keyserver.sessions.core import KeyState
from keyserver.sessions.set_change.phases import Report
from keyserver.simulation.adversary.rows import Crashes, Must
from tests.adversary.checks import check_names
from tests.adversary.expectations import completes
from tests.adversary.handing_over import DOCUMENT_KEY, KEY, HandingOver, make_current
from tests.adversary.view import Drawn, interpolated

MIXTURES = 50


async def check_handing_over(game: HandingOver) -> None:
    """Everything that the row promises."""
    assert all(node.is_sound for node in game.honest), "a part of an honest node has ended"
    if not isinstance(game.row.deed, Crashes):
        assert all(node.is_sound for node in game.cheating.liars), "a lie has ended its teller"
    await check_names(game)
    check_one_record(game)
    if game.size.is_secret:
        await check_secrecy(game)
    if game.liar_leads and game.row.must is Must.REFUSED:
        check_refused(game)
    if game.size.is_safe and completes(game.row, game.size):
        await check_completed(game)


def check_one_record(game: HandingOver) -> None:
    """No two honest nodes know different records of one version; shares fit their record."""
    known: dict[int, set[bytes]] = {}
    for state in game.states.values():
        if state.active is not None:
            known.setdefault(state.active.record.version, set()).add(state.active.record.hash)
    if game.size.is_safe:
        assert all(len(hashes) == 1 for hashes in known.values()), "two records of one version"
    for record in {_record(s).hash: _record(s) for s in _active(game)}.values():
        shares = [s.share for s in _active(game) if s.share and _record(s).hash == record.hash]
        _check_shares(record, shares)


def _active(game: HandingOver) -> list[KeyState]:
    return [state for state in game.states.values() if state.active is not None]


def _record(state: KeyState) -> KeyRecord:
    assert state.active is not None
    return state.active.record


def _check_shares(record: KeyRecord, shares: list[KeyShare]) -> None:
    for chosen in islice(combinations(shares, record.required_nodes), 10):
        secret = interpolate_secret([s.x for s in chosen], [s.value for s in chosen])
        assert secret.public() == record.public, "shares of honest nodes do not fit"


def check_refused(game: HandingOver) -> None:
    """What the liar has led came to nothing, anywhere."""
    if not game.size.is_safe:
        return
    assert game.tried[0].error is not None, "the liar has got its result"
    if game.changing is not None:
        before = {1 if game.rehearsed else 0}
        assert game.histories_after_liar == before, "a change was written down"
        return
    for state in game.after_liar.values():
        assert state.active is None or state.active.record.version == 1, "something is installed"


async def check_completed(game: HandingOver) -> None:
    """The key is with the new nodes and nobody else, and can be used."""
    last = game.tried[-1]
    assert last.error is None, f"it failed: {last.error!r}"
    assert game.quiet, "honest nodes do not come to an end"
    new = {node.id for node in game.new}
    for node, state in game.states.items():
        assert state.active is not None, "an honest node does not know the key"
        assert state.active.record.set_id == game.target.id, "the key has not moved"
        assert (state.share is not None) == (node in new), "a share is where none belongs"
    if isinstance(last.result, CertifiedRecord):
        check_result(game, last.result)
    if isinstance(last.result, Report):
        check_written(game, last.result)
    if game.changing is None:
        make_current(game.cluster, game.new)
    holder = next(node for node in game.honest if node.id in new)
    assert await game.retrieve(holder) == DOCUMENT_KEY


def check_result(game: HandingOver, certified: CertifiedRecord) -> None:
    """All have it; whoever cheated about taking part does not count as a holder."""
    signers = {entry.node for entry in certified.certificate.holding.signatures}
    assert all(state.active == certified for state in game.states.values())
    if game.row.left_out and not game.liar_leads:
        assert not signers & game.cheating.tellers, "a liar counts as holder"


def check_written(game: HandingOver, report: Report) -> None:
    """Every honest node has written the change down, once, and all the same one."""
    histories = {tuple(change.id for change in game.history(node)) for node in game.honest}
    assert len(histories) == 1, "honest nodes tell different pasts"
    (ids,) = histories
    assert ids[-1] == report.change.id, "the change was not written down"
    assert len(set(ids)) == len(ids), "a change was written down twice"
    assert report.executed >= {node.id for node in game.honest}, "an honest node was left out"


# --- secrecy -------------------------------------------------------------------------------------


async def check_secrecy(game: HandingOver) -> None:
    """Old and new shares of the liars together tell nothing, and nobody told them more."""
    heard = b"|".join(data for _, data in game.cheating.view.received)
    for secret in _honest_secrets(game):
        assert secret not in heard, "a secret of an honest node was sent in the clear"
    for receivers in game.cheating.view.opened().values():
        assert receivers <= game.cheating.view.liars, "the liars have opened what is not for them"
        assert len(receivers) <= game.size.threshold
    liars = game.cheating.view.liars
    old = [share for node, share in game.shares_before.items() if node in liars]
    states = [await node.store.load(KEY) for node in game.cheating.liars]
    moved = [state for state in states if state.active and state.active.record.version > 1]
    new = [state.share for state in moved if state.share is not None]
    public = next(state.active.record.public for state in game.states.values() if state.active)
    assert public not in set(interpolated(old)), "the old shares are the key"
    assert public not in set(interpolated(new)), "the new shares are the key"
    for mixed in islice(_mixtures(old, new), MIXTURES):
        made = interpolate_secret([s.x for s in mixed], [s.value for s in mixed])
        assert made.public() != public, "old and new shares together are the key"


def _mixtures(old: list[KeyShare], new: list[KeyShare]) -> list[list[KeyShare]]:
    """Shares at different places, some old and some new."""
    places = sorted({share.x for share in (*old, *new)}, key=int)
    at = [[share for share in (*old, *new) if share.x == x] for x in places]
    return [list(chosen) for count in range(1, len(at) + 1) for chosen in product(*at[:count])]


def _honest_secrets(game: HandingOver) -> set[bytes]:
    honest = {node.id for node in game.honest}
    drawn = {
        secret
        for seed, secrets in Drawn.drawn.items()
        if any(bytes(node) in seed for node in honest)
        for secret in secrets
    }
    before = {s.value.expose() for node, s in game.shares_before.items() if node in honest}
    after = {s.share.value.expose() for s in game.states.values() if s.share}
    keys = {node._signer._secret.expose() for node in game.honest}
    return drawn | before | after | keys
