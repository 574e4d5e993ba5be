"""Has every key decided that a session left undecided (engine design, section 7.6).

One case per undecided version or storing attempt. A case of this node's own begins when it is a
minute old, so that no live session is disturbed, or at once after a restart: first the peers are
asked whether they know the decision; if none does, the rounds begin. A case that others began is
joined. One consumer works all of it off in turn, so a vote is on disk before the next is cast.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from keyserver.engine.acceptance import (
    facts_of,
    is_decided,
    next_count,
    voters,
    with_decision,
)
from keyserver.engine.asking import Asker
from keyserver.engine.ballot import Ballot, Decided, Effect, Enter
from keyserver.engine.ballot_terms import Terms
from keyserver.engine.driver import Identity, Ports
from keyserver.engine.inbox import Inbox
from keyserver.engine.installation import Installer
from keyserver.engine.links import (
    AnyLink,
    DecisionRequest,
    Entered,
    HeldRecord,
    Holding,
    HoldingRequest,
    Keys,
    Status,
    Subject,
    SubjectKind,
    Vote,
    pack_link,
)
from keyserver.engine.own_votes import Memory, remembered
from keyserver.engine.patience import Patience
from keyserver.engine.ports import VoteConflictError
from keyserver.errors import StorageError
from keyserver.model.codec import CodecError
from keyserver.model.identifiers import ZERO_HASH, KeyId, NodeId
from keyserver.model.quorums import Quorums
from keyserver.sessions.agreement import FIRST_ROUND_S, round_timeout_s
from keyserver.sessions.certificates import check_holding
from keyserver.sessions.core import KeyState, Persist, Refused, Report, Send
from keyserver.sessions.writes import PutHolding, Write

TICK_S = 10.0
"""How often undecided keys are looked at, and votes are sent again."""

ANSWER_S = 3.0
"""How long peers have to say that they know a decision."""

MAX_VOTES_OF_PEER = 512
"""Messages of one peer that wait; more are dropped, a correct sender repeats them."""

MAX_QUESTIONS_BY_PEER = 64
"""Questions under way that were brought about by votes of one peer, and are asked of it."""

MAX_CASES_BY_PEER = 64
"""Cases of which this node knows only because one peer has voted in them."""

MAX_BROUGHT_A_DAY = 1024
"""The same, in all, of one day."""

DAY_S = 86_400.0

log = structlog.get_logger()

Work = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Case:
    """A subject under decision, and when something has to happen about it."""

    subject: Subject
    ballot: Ballot
    not_before: float
    """When this node may join a round that others have entered."""
    deadline: float
    """When the round it is in has lasted long enough."""
    started_by: NodeId
    """Whose vote brought it here; this node's own id for what it has itself."""
    asked: bool = False
    """Whether peers were asked for the decision."""


class Recovery:
    """Runs the rounds of this node."""

    def __init__(
        self,
        identity: Identity,
        ports: Ports,
        asker: Asker,
        installer: Installer,
        report: Callable[[Report], None],
    ) -> None:
        self._identity = identity
        self._ports = ports
        self._asker = asker
        self._installer = installer
        self._report = report
        self._cases: dict[Subject, Case] = {}
        self._others_decide: dict[Subject, float] = {}
        """What this node holds without a vote in it, and when to ask what became of it."""
        self._brought: Counter[NodeId] = Counter()
        self._day_ends = 0.0
        self._inbox: Inbox[Work] = Inbox(MAX_VOTES_OF_PEER)
        self._patience = Patience("forged votes")
        self._asking: set[tuple[Subject, NodeId | None]] = set()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._tick_for_ever())
            while True:
                work = await self._inbox.get()
                await self._do(work)

    async def _tick_for_ever(self) -> None:
        """Look at all cases now and then; however long that takes, votes are heard in between."""
        grace_s = 0.0
        while True:
            looked = asyncio.Event()
            self._inbox.post(partial(self._look, grace_s, looked))
            await looked.wait()
            await asyncio.sleep(TICK_S)
            grace_s = FIRST_ROUND_S

    async def _look(self, grace_s: float, looked: asyncio.Event) -> None:
        try:
            await self._tick(grace_s=grace_s)
        finally:
            looked.set()

    async def _do(self, work: Work) -> None:
        try:
            await work()
        except StorageError as problem:
            log.error("recovery_failed", problem=str(problem))

    def deliver(self, peer: NodeId, message: Vote | Keys, size: int) -> bool:
        """A vote, or what was decided, has arrived in `size` bytes; false if the peer has to go."""
        if self._patience.is_over(peer):
            return False
        if isinstance(message, Keys):
            if len(message.keys) == 1:  # what was decided just now, or was voted on
                self._inbox.put(peer, lambda: self._on_keys(peer, message), size)
        else:
            self._inbox.put(peer, lambda: self._on_vote(peer, message), size)
        return True

    def on_connected(self, peer: NodeId) -> None:
        """A peer is there: it may have missed in which rounds this node is."""
        self._inbox.put(peer, lambda: self._greet(peer))

    def hasten(self, kind: SubjectKind, key_id: KeyId) -> None:
        """Give the record or document of a key no more time: nobody is left to complete it."""
        self._inbox.post(lambda: self._hasten(kind, key_id))

    def _now(self) -> float:
        return self._ports.clock.monotonic()

    # --- own cases ----------------------------------------------------------------------------

    async def _tick(self, *, grace_s: float) -> None:
        for key_id in await self._ports.store.undecided():
            for subject in open_subjects(key_id, await self._ports.store.load(key_id)):
                if subject not in self._cases:
                    begins = self._now() + grace_s
                    await self._open(subject, self._identity.me, begins, begins)
        await self._ask_the_others()
        for case in list(self._cases.values()):
            await self._do(lambda case=case: self._look_at(case))  # type: ignore[misc]

    async def _ask_the_others(self) -> None:
        """Ask about what other nodes decide; what stays open comes here again."""
        due = [subject for subject, at in self._others_decide.items() if at <= self._now()]
        for subject in due:
            del self._others_decide[subject]
            if not is_decided(subject, await self._ports.store.load(subject.key_id)):
                self._ask(subject)

    async def _hasten(self, kind: SubjectKind, key_id: KeyId) -> None:
        now = self._now()
        for subject in open_subjects(key_id, await self._ports.store.load(key_id)):
            if subject.kind != kind:
                continue
            case = self._cases.get(subject)
            if case is None:
                case = await self._open(subject, self._identity.me, now, now)
            if case is not None and case.ballot.round == 0:
                case.not_before = case.deadline = now
                await self._look_at(case)

    async def _open(
        self, subject: Subject, started_by: NodeId, not_before: float, deadline: float
    ) -> Case | None:
        """Take up a case; `None` if this node has no vote in it."""
        ballot = await self._ballot(subject)
        if ballot is None:
            if started_by == self._identity.me:
                known = self._others_decide.setdefault(subject, not_before)
                self._others_decide[subject] = min(known, not_before)
            return None
        if ballot.round > 0:
            not_before, deadline = self._now(), self._now() + round_timeout_s(ballot.round)
        case = Case(subject, ballot, not_before, deadline, started_by)
        self._cases[subject] = case
        log.info("decision_pending", key_id=subject.key_id, kind=subject.kind, count=subject.count)
        return case

    async def _ballot(self, subject: Subject) -> Ballot | None:
        state = await self._ports.store.load(subject.key_id)
        committee = voters(subject, state, self._ports.node_sets.snapshot.current)
        identity = self._identity
        if identity.me not in committee:
            return None
        previous = state.active.record.hash if state.active is not None else ZERO_HASH
        max_faulty = identity.policy().max_faulty
        terms = Terms(subject, committee, max_faulty, previous, identity.me, identity.signer)
        return Ballot(terms, await self._memory(subject))

    async def _memory(self, subject: Subject) -> Memory:
        """This node's votes; read before the state, so that what stands behind them is there."""
        votes = await self._ports.store.votes(subject.hash)
        state = await self._ports.store.load(subject.key_id)
        try:
            return remembered(state, subject, votes)
        except CodecError as problem:
            raise StorageError(f"vote on {subject.hash.hex()}: {problem}") from problem

    async def _look_at(self, case: Case) -> None:
        """What time has brought: the case is over, is asked about, enters a round, or waits."""
        state = await self._ports.store.load(case.subject.key_id)
        if is_decided(case.subject, state):
            self._close(case)
            return
        own_and_new = case.ballot.round == 0 and case.started_by == self._identity.me
        if self._now() < case.deadline and not case.ballot.is_silent:
            await self._act(case, case.ballot.announce(self._peers(case)))
        elif own_and_new and not case.asked:
            self._ask(case.subject)
        elif len(self._peers(case)) + 1 >= case.ballot.quorum:
            await self._enter(case, case.ballot.round + 1)

    def _close(self, case: Case) -> None:
        self._cases.pop(case.subject, None)

    def _peers(self, case: Case) -> list[NodeId]:
        """The other voters that can be reached."""
        connected = self._ports.transport.connected
        return [node for node in case.ballot.voters if node in connected]

    # --- asking -------------------------------------------------------------------------------

    def _ask(self, subject: Subject, peer: NodeId | None = None) -> None:
        """Ask for the decision, all peers or one; not while the same question is under way."""
        name = (subject, peer)
        if self._tasks is None or name in self._asking:
            return
        if peer is not None and self._questions_of(peer) >= MAX_QUESTIONS_BY_PEER:
            return
        asked = sorted(self._ports.transport.connected) if peer is None else [peer]
        self._asking.add(name)
        self._tasks.create_task(self._asked(name, asked))

    def _questions_of(self, peer: NodeId) -> int:
        return sum(1 for _, asked in self._asking if asked == peer)

    async def _asked(self, name: tuple[Subject, NodeId | None], peers: list[NodeId]) -> None:
        subject = name[0]
        try:
            async with asyncio.TaskGroup() as tasks:
                for peer in peers:
                    tasks.create_task(self._ask_for_decision(peer, subject))
                    if subject.kind == SubjectKind.RECORD:
                        tasks.create_task(self._ask_for_holding(peer, subject))
        finally:
            self._asking.discard(name)
        self._inbox.post(lambda: self._answered(subject, len(peers)))

    async def _ask_for_decision(self, peer: NodeId, subject: Subject) -> None:
        number = self._asker.number()
        question = DecisionRequest(number, subject)
        answer = await self._asker.ask(peer, question, Keys, within_s=ANSWER_S)
        if answer is not None and answer.keys:
            self._inbox.post(lambda: self._on_keys(peer, answer))

    async def _ask_for_holding(self, peer: NodeId, subject: Subject) -> None:
        number = self._asker.number()
        question = HoldingRequest(number, subject.key_id, subject.count)
        answer = await self._asker.ask(peer, question, Holding, within_s=ANSWER_S)
        if answer is not None and answer.held is not None:
            held = answer.held
            self._inbox.post(lambda: self._on_holding(peer, subject, held))

    async def _answered(self, subject: Subject, peers: int) -> None:
        """Nobody knew the decision, or the case would be over by now."""
        case = self._cases.get(subject)
        if case is not None and peers + 1 >= case.ballot.quorum:
            case.asked = True
            await self._look_at(case)

    async def _on_holding(self, peer: NodeId, subject: Subject, held: HeldRecord) -> None:
        """The certificate of a record that this node has prepared itself."""
        state = await self._ports.store.load(subject.key_id)
        prepared = state.prepared
        if prepared is None or prepared.record != held.record or prepared.holding is not None:
            return
        quorums = Quorums.of(len(held.record.committee), self._identity.policy().max_faulty)
        try:
            check_holding(held.record, held.holding, quorums)
            await self._ports.store.commit((PutHolding(held.record, held.holding),))
        except (Refused, VoteConflictError) as problem:
            log.warning("holding_refused", peer=peer, key_id=subject.key_id, problem=str(problem))

    async def _on_keys(self, peer: NodeId, keys: Keys) -> None:
        for facts in keys.keys:
            try:
                state = await self._installer.take(facts)
            except Refused as refused:
                log.warning("facts_refused", peer=peer, key_id=facts.key_id, problem=str(refused))
                return
            for case in list(self._cases.values()):
                if case.subject.key_id == facts.key_id and is_decided(case.subject, state):
                    self._close(case)

    # --- rounds -------------------------------------------------------------------------------

    async def _greet(self, peer: NodeId) -> None:
        for case in list(self._cases.values()):
            await self._act(case, case.ballot.announce([peer]))

    async def _on_vote(self, peer: NodeId, vote: Vote) -> None:
        case = self._cases.get(vote.subject)
        try:
            if case is None:
                await self._on_strange_vote(peer, vote)
            else:
                await self._act(case, case.ballot.handle(peer, vote), (peer, vote))
            self._patience.note(peer, correct=True)
        except Refused as refused:
            self._patience.note(peer, correct=False)
            log.warning("vote_refused", peer=peer, vote=type(vote).__name__, problem=str(refused))
            for report in refused.reports:
                self._report(report)

    async def _on_strange_vote(self, peer: NodeId, vote: Vote) -> None:
        """A vote about something that is not undecided here, as far as this node knows."""
        subject = vote.subject
        state = await self._ports.store.load(subject.key_id)
        if is_decided(subject, state):
            if isinstance(vote, Status | Entered):
                self._send(peer, Keys(0, (facts_of(subject.key_id, state),)))
            return
        expected = next_count(SubjectKind(subject.kind), state)
        if subject.kind == SubjectKind.DOCUMENT and state.active is None:
            self._ask(Subject(SubjectKind.RECORD, subject.key_id, state.next_version), peer)
        elif subject.count > expected:
            self._ask(Subject(subject.kind, subject.key_id, expected), peer)
        elif self._cases_of(peer) < MAX_CASES_BY_PEER and self._may_bring(peer):
            await self._join(peer, vote, given_up=_given_up(subject, state))

    def _cases_of(self, peer: NodeId) -> int:
        return sum(1 for case in self._cases.values() if case.started_by == peer)

    def _may_bring(self, peer: NodeId) -> bool:
        """Whether the peer may bring one more case: what is given up stays on the disk for ever."""
        if self._now() >= self._day_ends:
            self._brought.clear()
            self._day_ends = self._now() + DAY_S
        return self._brought[peer] < MAX_BROUGHT_A_DAY

    async def _join(self, peer: NodeId, vote: Vote, *, given_up: int) -> None:
        """Vote along: at once when f + 1 others do, else when the session has had its time.

        The more versions or attempts were given up in a row, the longer that is: one peer alone
        cannot have them given up as fast as it votes.
        """
        now = self._now()
        case = await self._open(vote.subject, peer, now, now + round_timeout_s(given_up))
        if case is None:
            return
        self._brought[peer] += 1
        try:
            effects = case.ballot.handle(peer, vote)
        except Refused:
            self._close(case)
            raise
        await self._act(case, effects, (peer, vote))

    async def _enter(self, case: Case, round_: int) -> None:
        """Enter a round; its STATUS leaves only if it names what this node committed to last."""
        case.ballot.recall(await self._memory(case.subject))
        if not await self._write(case, (case.ballot.status_vote(round_),)):
            return
        effects = case.ballot.enter(await self._memory(case.subject))
        if case.ballot.is_silent:
            await self._enter(case, round_ + 1)
            return
        case.deadline = self._now() + round_timeout_s(round_)
        case.not_before = self._now()
        log.info("round_entered", key_id=case.subject.key_id, round=round_)
        await self._act(case, effects)

    async def _write(self, case: Case, writes: Sequence[Write]) -> bool:
        """Write votes; if that fails the case is taken up again later, from what is on disk."""
        try:
            await self._ports.store.commit(writes)
        except (VoteConflictError, StorageError) as problem:
            log.error("vote_not_written", key_id=case.subject.key_id, problem=str(problem))
            self._close(case)
            return False
        return True

    async def _act(
        self,
        case: Case,
        effects: Iterable[Effect],
        cause: tuple[NodeId, Vote] | None = None,
    ) -> None:
        """Execute effects in order; what cannot be written takes everything after it along."""
        for effect in effects:
            match effect:
                case Persist(writes):
                    if not await self._write(case, writes):
                        return
                case Send(to, message):
                    self._send_vote(to, message)
                case Report():
                    self._report(effect)
                case Enter(round_):
                    await self._follow(case, round_, cause)
                case Decided():
                    await self._decided(case, effect)

    async def _follow(self, case: Case, round_: int, cause: tuple[NodeId, Vote] | None) -> None:
        """Enter a round that others are in, and look at what they said once more."""
        if self._now() < case.not_before:
            return
        await self._enter(case, round_)
        if cause is not None and case.ballot.round >= round_:
            self._inbox.post(lambda: self._on_vote(*cause))

    def _send_vote(self, to: NodeId, message: Vote) -> None:
        if to == self._identity.me:
            self._inbox.post(lambda: self._on_vote(to, message))
        else:
            self._send(to, message)

    def _send(self, to: NodeId, message: AnyLink) -> None:
        """One that cannot be sent is lost: the other end will ask, or hear it again."""
        self._ports.transport.send(to, pack_link(message))

    async def _decided(self, case: Case, decided: Decided) -> None:
        subject = case.subject
        state = await self._ports.store.load(subject.key_id)
        facts = facts_of(subject.key_id, state)
        if not is_decided(subject, state):
            facts = with_decision(subject, state, decided.decision, decided.backing)
            await self._installer.take(facts)
        log.info("decision_made", key_id=subject.key_id, nothing=decided.decision.is_nothing)
        self._close(case)
        told = set(case.ballot.voters)
        for record in (facts.record, decided.backing.record, state.prepared):
            told.update(record.record.nodes if record is not None else ())
        for peer in sorted(told & self._ports.transport.connected):
            self._send(peer, Keys(0, (facts,)))


def _given_up(subject: Subject, state: KeyState) -> int:
    """How many versions or attempts directly before this one were decided as *nothing*."""
    record = state.active.record if state.active is not None else None
    if subject.kind == SubjectKind.RECORD:
        return subject.count - 1 - (record.version if record is not None else 0)
    return subject.count - (record.first_attempt if record is not None else 1)


def open_subjects(key_id: KeyId, state: KeyState) -> list[Subject]:
    """What this node has voted for without knowing what became of it."""
    subjects = []
    if state.prepared is not None or state.promise is not None:
        subjects.append(Subject(SubjectKind.RECORD, key_id, state.next_version))
    if state.document_candidate is not None:
        subjects.append(Subject(SubjectKind.DOCUMENT, key_id, state.next_document_attempt))
    return subjects
