"""What nodes tell each other of earlier changes, and when it is believed.

The number of completed changes is the epoch that bound orders are signed for, so all nodes must
count alike; one that has missed changes takes over what f + 1 members of the old set vouch for.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from keyserver.crypto.hashing import tagged_hash
from keyserver.model.codec import encode
from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.keys import NodeSignature
from keyserver.model.set_change import CompletedChange, SetChange
from keyserver.sessions.core import Context, DeniedError, Refusal, Refused
from keyserver.sessions.identity import check_signature, digest, distinct_signers, node_bytes
from keyserver.sessions.set_change.messages import ChangeDone, ChangeFrozen, PastChange


def past_of(completed: Sequence[CompletedChange], change: SetChange) -> tuple[PastChange, ...]:
    """The changes before this one; if it was the latest that was completed, it comes after them."""
    again = bool(completed) and completed[-1].id == change.id
    before = completed[:-1] if again else completed
    return tuple(PastChange(each.epoch, each.id, each.old.nodes, each.new.nodes) for each in before)


def past_hash(past: tuple[PastChange, ...]) -> Hash32:
    """One name for the whole past."""
    return Hash32(tagged_hash("tks/1/changes", b"".join(encode(each) for each in past)))


def history_digest(change_id: Hash32, past: tuple[PastChange, ...], node: NodeId) -> Hash32:
    """What a node signs when it tells its past."""
    return digest("tks/1/changehistory", change_id, past_hash(past), node_bytes(node))


def next_epoch(past: tuple[PastChange, ...]) -> int:
    """The number of the change that follows."""
    return past[-1].epoch + 1 if past else 1


def check_frozen(change: SetChange, sender: NodeId, frozen: ChangeFrozen) -> None:
    """Check that a node has signed what it tells; raises `Refused`."""
    signed = history_digest(change.id, frozen.past, sender)
    check_signature(signed, frozen.signature, sender)


def agreed_past(
    ctx: Context, change: SetChange, frozen: Mapping[NodeId, ChangeFrozen]
) -> tuple[tuple[PastChange, ...], tuple[NodeSignature, ...]] | None:
    """The longest past that f + 1 members of the old set tell, and their signatures.

    Joiners have missed what was before, so of several such the one with the highest epoch counts.
    `None` if no f + 1 tell the same.
    """
    told = Counter(each.past for node, each in frozen.items() if node in change.old)
    needed = ctx.quorums(len(change.old)).faulty + 1
    common = [past for past, count in told.items() if count >= needed]
    if not common:
        return None
    past = max(common, key=next_epoch)
    vouchers = tuple(
        NodeSignature(node, each.signature)
        for node, each in sorted(frozen.items())
        if each.past == past and node in change.old
    )
    return past, vouchers


def check_nobody_ahead(past: tuple[PastChange, ...], frozen: Mapping[NodeId, ChangeFrozen]) -> None:
    """Raise `DeniedError`, for the operator, if a node has completed what the others have not.

    It does not forget that, and the others do not believe it: only that change, ordered again and
    completed everywhere, makes them count alike.
    """
    for node, each in sorted(frozen.items()):
        if next_epoch(each.past) < next_epoch(past):
            continue
        for other in each.past:
            if other not in past:
                members = ", ".join(member.short for member in other.new)
                raise DeniedError(
                    f"{node.short} has completed change number {other.epoch} ({other.id.hex()}, to "
                    f"the nodes {members}), and others have not: repeat that order first",
                    "ConsensusUnreachable",
                )


def check_done(
    ctx: Context, change: SetChange, own: tuple[PastChange, ...], done: ChangeDone
) -> None:
    """Check the past that a change is to be added to; raises `Refused`.

    The own one needs no proof. Another one is taken over if it is longer, and vouched for.
    """
    if done.past == own:
        return
    if next_epoch(done.past) <= next_epoch(own):
        raise Refused(Refusal.STALE, "this node knows of other changes")
    if [each.epoch for each in done.past] != list(range(1, len(done.past) + 1)):
        raise Refused(Refusal.BAD, "the changes are not numbered one after the other")
    signers = distinct_signers(done.vouchers, change.old.nodes)
    if len(signers) <= ctx.quorums(len(change.old)).faulty:
        raise Refused(Refusal.BAD, "too few nodes vouch for the changes before this one")
    for entry in done.vouchers:
        signed = history_digest(change.id, done.past, entry.node)
        check_signature(signed, entry.signature, entry.node)
