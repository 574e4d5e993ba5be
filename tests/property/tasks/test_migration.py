"""What a node may do about a migration, whatever owner, peers, chain and sessions come up with."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.tasks.migration import (
    IDLE,
    AcceptMigration,
    CheckKeys,
    ChooseId,
    ForgetSession,
    JoinedMigration,
    KeyCheck,
    MigrationFacts,
    MigrationView,
    PlannedStart,
    RecordFailure,
    RecordSuccess,
    Refuse,
    RunningMigration,
    SendConfirm,
    SendStart,
    Sent,
    SentState,
    SessionPhase,
    SessionState,
    StartSession,
    Wait,
)
from keyserver.tasks.migration_decision import back_off, decide, elected_master
from keyserver.tasks.migration_status import status_of
from tests.support.migrations import BLOCK, CONTRACT, id_of, node, nodes, set_of

ME = node(2)
NUMBERS = (1, 2, 3, 4, 5)
MOST_STEPS = 8
THRESHOLD = 1


@dataclass
class World:
    """A contract, one key, and one node that does what `decide` says."""

    block: int = BLOCK
    now: float = 0.0
    current: frozenset[int] = frozenset({1, 2, 3})
    new: frozenset[int] = frozenset({1, 2, 3})
    new_since: int = BLOCK
    running: RunningMigration | None = None
    last_id: Hash32 | None = None
    stale: bool = False
    holders: frozenset[int] = frozenset({1, 2, 3})
    connected: frozenset[int] = frozenset(NUMBERS)
    session: SessionState = IDLE
    plan: PlannedStart | None = None
    joined: dict[Hash32, JoinedMigration] = field(default_factory=dict)
    starts: dict[Hash32, Sent] = field(default_factory=dict)
    confirms: dict[Hash32, Sent] = field(default_factory=dict)
    failures: int = 0
    retry_at: float = 0.0
    check: KeyCheck | None = None
    ids: int = 0
    chosen: dict[tuple[Hash32, Hash32], list[Hash32]] = field(default_factory=dict)
    started: set[Hash32] = field(default_factory=set)
    """Ids under which a migration was ever started."""

    def view(self) -> MigrationView:
        shown = self.block - self.new_since >= 5 and self.new != self.current
        return MigrationView(
            self.block,
            set_of(*self.current),
            set_of(*self.new),
            self.new_since,
            shown and self.running is None,
            self.running,
            self.last_id,
            self.stale,
        )

    def facts(self) -> MigrationFacts:
        running_id = self.running.id if self.running else None
        return MigrationFacts(
            plan=self.plan,
            joined=self.joined.get(running_id) if running_id else None,
            start=self.starts.get(self.plan.id) if self.plan else None,
            confirm=self.confirms.get(running_id) if running_id else None,
            retry_at=self.retry_at,
            check=self.check,
            now=self.now,
            connected=nodes(*self.connected),
        )

    # --- what happens to it ---------------------------------------------------------------

    def mine(self, blocks: int) -> None:
        self.block += blocks
        self.now += 12.0 * blocks

    def edit(self, members: frozenset[int]) -> None:
        if members != self.new:
            self.new, self.new_since = members, self.block

    def start(self, by: int, migration_id: Hash32) -> None:
        allowed = by in self.new | self.current and self.new and self.new != self.current
        if self.running is None and allowed and migration_id not in self.started:
            target = set_of(*self.new)
            self.running = RunningMigration(migration_id, target, node(by), frozenset())
            self.last_id = migration_id
            self.started.add(migration_id)

    def confirm(self, by: NodeId) -> None:
        running = self.running
        if running is None or by not in running.target:
            return
        self.running = replace(running, confirmed=running.confirmed | {by})
        if len(self.running.confirmed) == len(running.target):
            numbers = [n for n in NUMBERS if node(n) in running.target]
            self.current, self.running = frozenset(numbers), None

    def mine_transactions(self, worked: bool) -> None:
        """What this node has sent is mined, or lost."""
        for migration_id, sent in self.starts.items():
            if sent.state is SentState.OPEN:
                self.starts[migration_id] = replace(sent, state=SentState.DONE)
                if worked:
                    self.start(2, migration_id)
        for migration_id, sent in self.confirms.items():
            if sent.state is SentState.OPEN:
                self.confirms[migration_id] = replace(sent, state=SentState.DONE)
                if worked and self.running and self.running.id == migration_id:
                    self.confirm(ME)

    def end_session(self, phase: SessionPhase) -> None:
        if self.session.phase is SessionPhase.ACTIVE:
            self.session = replace(self.session, phase=phase)
            if phase is SessionPhase.FINISHED and self.running is not None:
                self.holders = frozenset(n for n in NUMBERS if node(n) in self.running.target)

    def cancel(self) -> None:
        self.running = None
        if self.new != self.current:
            self.new_since = self.block

    # --- what it does ---------------------------------------------------------------------

    def act(self) -> None:
        """Carry steps out until it waits, and check each of them."""
        self.check = None
        for _ in range(MOST_STEPS):
            view, facts = self.view(), self.facts()
            action = decide(ME, view, self.session, facts)
            status_of(ME, view, self.session, facts)
            match action:
                case Wait() | Refuse():
                    return
                case StartSession(order):
                    self._check_session(view)
                    assert self.session == IDLE
                    self.session = SessionState(SessionPhase.ACTIVE, order.id)
                case SendStart(migration_id):
                    self._check_start(view, migration_id)
                    self.starts[migration_id] = Sent(self.block, SentState.OPEN)
                case SendConfirm(migration_id):
                    self._check_confirm(migration_id)
                    self.confirms[migration_id] = Sent(self.block, SentState.OPEN)
                case ChooseId(current, new):
                    self._choose(view, (current.id, new.id))
                case CheckKeys(target):
                    at_risk = () if self._is_safe(target.nodes) else (KeyId(bytes(32)),)
                    self.check = KeyCheck(target.id, at_risk)
                case AcceptMigration(running):
                    assert running.target.nodes == view.new.nodes
                    assert self.block - self.new_since >= 5
                    self.joined[running.id] = JoinedMigration(
                        running.id, CONTRACT, running.target.id, self.block
                    )
                case RecordSuccess(joined):
                    assert joined == self.joined[joined.id]
                    self.joined[joined.id] = replace(joined, succeeded_block=self.block)
                    self.session = IDLE
                case RecordFailure():
                    self.failures += 1
                    self.retry_at = self.now + back_off(self.failures)
                    self.session = IDLE
                case ForgetSession():
                    self.session = IDLE
        raise AssertionError("it goes on for ever")

    def _is_safe(self, target: tuple[NodeId, ...]) -> bool:
        return len(nodes(*self.holders) & frozenset(target)) > THRESHOLD

    def _check_start(self, view: MigrationView, migration_id: Hash32) -> None:
        assert not self.stale
        assert self.running is None
        assert self.new != self.current
        assert self.block - self.new_since >= 5
        assert elected_master(view.current, view.new) == ME
        assert self._is_safe(view.new.nodes)
        assert migration_id not in self.started
        earlier = self.starts.get(migration_id)
        assert earlier is None or self.block - earlier.block >= 30

    def _check_session(self, view: MigrationView) -> None:
        running = view.running
        assert not self.stale
        assert running is not None
        assert running.master == ME
        assert ME in running.target
        assert running.id in self.joined
        assert frozenset(running.target.nodes) <= nodes(*self.connected)
        assert self._is_safe(running.target.nodes)
        assert self.now >= self.retry_at
        succeeded = self.joined[running.id].succeeded_block
        assert succeeded is None or self.block - succeeded >= 60

    def _check_confirm(self, migration_id: Hash32) -> None:
        assert self.running is not None
        assert self.running.id == migration_id
        assert ME in frozenset(self.running.target.nodes) - self.running.confirmed
        assert self.joined[migration_id].succeeded_block is not None
        earlier = self.confirms.get(migration_id)
        assert earlier is None or self.block - earlier.block >= 30

    def _choose(self, view: MigrationView, pair: tuple[Hash32, Hash32]) -> None:
        """One id for a pair of sets, until it is used or another pair has come between."""
        assert self.plan is None or not self.plan.fits(view)
        self.ids += 1
        self.plan = PlannedStart(id_of(self.ids), CONTRACT, *pair, self.block)
        self.chosen.setdefault(pair, []).append(self.plan.id)


sets = st.frozensets(st.sampled_from(NUMBERS), max_size=4)
likely_sets = st.sampled_from([frozenset(each) for each in ({2, 3, 4}, {2, 3}, {2, 3, 4, 5})])
numbers = st.sampled_from(NUMBERS)

Step = Callable[[World], object]


def mines(blocks: int) -> Step:
    return lambda world: world.mine(blocks)


def edits(members: frozenset[int]) -> Step:
    return lambda world: world.edit(members)


def starts(by: int, number: int) -> Step:
    return lambda world: world.start(by, id_of(number))


def confirms(by: int) -> Step:
    return lambda world: world.confirm(node(by))


def ends(phase: SessionPhase) -> Step:
    return lambda world: world.end_session(phase)


def becomes(name: str, value: object) -> Step:
    return lambda world: setattr(world, name, value)


usual: st.SearchStrategy[Step] = st.sampled_from(
    [
        mines(1),
        mines(5),
        mines(29),
        mines(60),
        ends(SessionPhase.FINISHED),
        ends(SessionPhase.FAILED),
        confirms(3),
        confirms(4),
        lambda world: world.mine_transactions(worked=True),
        lambda world: world.mine_transactions(worked=True),
        lambda world: world.mine_transactions(worked=False),
        becomes("stale", False),
    ]
)
odd: st.SearchStrategy[Step] = st.one_of(
    st.builds(edits, likely_sets),
    st.builds(edits, sets),
    st.builds(starts, numbers, st.integers(900, 902)),
    st.builds(confirms, st.sampled_from([1, 5])),
    st.just(lambda world: world.cancel()),
    st.sampled_from([becomes("stale", stale) for stale in (True, False, False)]),
    st.builds(becomes, st.just("holders"), sets),
    st.builds(becomes, st.just("connected"), sets.map(lambda members: members | {2})),
    st.just(becomes("session", IDLE)),  # a restart
)
happenings = st.lists(st.one_of(usual, usual, usual, odd), min_size=5, max_size=30)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([0, 3, 5]), likely_sets, st.integers(0, 3), happenings)
def test_every_step_is_allowed(
    age: int, new: frozenset[int], stage: int, happened: list[Step]
) -> None:
    """From the first sight of a new set, a migration under way, or one that is half confirmed."""
    world = World(new=new, new_since=BLOCK - age)
    for step in (mines(5), starts(2, 903), ends(SessionPhase.FINISHED), confirms(3))[: stage + 1]:
        world.act()
        step(world)
    world.act()
    for step in happened:
        step(world)
        world.act()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 7, 30, 31]), max_size=20), st.booleans())
def test_a_pair_of_sets_has_one_id(blocks: list[int], lost: bool) -> None:
    """However often the transaction is lost, it is the same one that is sent again."""
    world = World(new=frozenset({2, 3, 4}), new_since=BLOCK - 5)
    for count in blocks:
        world.act()
        if lost:
            world.mine_transactions(worked=False)
        world.mine(count)
    assert all(len(ids) == 1 for ids in world.chosen.values())
    assert len(world.chosen) <= 1


@settings(max_examples=60, deadline=None)
@given(sets, sets.filter(len), st.frozensets(numbers, min_size=2))
def test_in_the_end_what_can_be_migrated_is(
    first: frozenset[int], target: frozenset[int], holders: frozenset[int]
) -> None:
    """With everybody there and nothing lost, every change that loses no key comes about."""
    world = World(holders=holders)
    world.edit(first)
    world.act()
    world.edit(target)
    for _ in range(12):
        world.mine(1)
        world.act()
        world.mine_transactions(worked=True)
        world.act()
        world.end_session(SessionPhase.FINISHED)
        world.act()
        if world.running is not None and ME in world.running.confirmed:
            for other in sorted(target):
                world.confirm(node(other))
    stays = frozenset({1, 2, 3}) & target
    led_here = bool(stays) and min(stays) == 2
    if led_here and len(holders & target) > THRESHOLD and target != {1, 2, 3}:
        assert world.current == target
    else:
        assert world.current == {1, 2, 3}
