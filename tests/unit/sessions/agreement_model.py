"""The agreement as a finite machine: n = 4, f = 1, a liar, rounds 0 to 3, every interleaving.

Three honest voters follow `Voter`; the fourth says whatever signatures allow. Votes that were cast
lie in a pool from which anybody may be served at any time, or never: that is every order, delay
and loss of messages. The liar needs no state: its vote completes any quorum that two honest ones
have begun, and it may propose to each voter something else, as long as a quorum of STATUS
carries it. Which voter proposes does not matter then, so voters are interchangeable, and so are
the two values.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

from keyserver.model.identifiers import Hash32
from keyserver.sessions import agreement
from keyserver.sessions.agreement import NOTHING, Prepared, Voter, VoteRefusedError

HONEST = 3
LAST_ROUND = 3
V, W = Hash32(b"v" * 32), Hash32(b"w" * 32)
VALUES = (V, W, NOTHING)
SWAPPED = {V: W, W: V, NOTHING: NOTHING}

Certificates = frozenset[Prepared]


@dataclass(frozen=True)
class Rules:
    """What the explored voters obey; the tests weaken one at a time."""

    enter: Callable[[Voter, int], Voter] = Voter.enter
    prepare: Callable[[Voter, int, Hash32], Voter] = Voter.prepare
    commit: Callable[[Voter, Prepared], Voter] = Voter.commit
    outcome: Callable[[Iterable[Prepared | None]], Hash32] = agreement.outcome
    quorum: int = 3
    decides_on_prepare: bool = False


@dataclass(frozen=True, eq=False)
class Node:
    """An honest voter and the STATUS votes it has sent; interned, so that identity is equality."""

    voter: Voter
    statuses: dict[int, Prepared | None]


Key = tuple[object, ...]
Rounds = frozenset[int]
State = tuple[Node, ...]


class BrokenError(Exception):
    """A property that must hold does not."""


class Explorer:
    """Breadth-first search over all states, one of each class of equivalent ones.

    What is left out unless `thorough`, because whatever can come of it can come without it:
    - skipping a round: to enter it as well only adds a STATUS that nobody has to use
    - seeing a certificate without committing: the liar can show it in any quorum of STATUS
    - votes in a round that has its certificate, and COMMIT in one that has its decision
    """

    def __init__(
        self, rules: Rules, last_round: int = LAST_ROUND, *, thorough: bool = False
    ) -> None:
        self.rules = rules
        self.last_round = last_round
        self.thorough = thorough
        self.seen: set[Key] = set()
        self.decided = 0
        """How many of the states hold a decision."""
        self.facts: set[Key] = set()
        """All that was ever certified and decided together, up to the names of the values."""
        self._nodes: dict[Key, Node] = {}
        self._keys: dict[Key, Key] = {}

    def run(self) -> None:
        """Visit every reachable state; raises `BrokenError` at the first bad one."""
        start = (self._node(Voter(), {}),) * HONEST
        self.seen.add(self._canonical(start))
        frontier = [start]
        while frontier:
            found: list[State] = []
            for state in frontier:
                self._check(state)
                for after in self._steps(state):
                    key = self._canonical(after)
                    if key not in self.seen:
                        self.seen.add(key)
                        found.append(after)
            frontier = found

    # --- what can happen ----------------------------------------------------------------------

    def _steps(self, state: State) -> Iterator[State]:
        certificates = self._certificates(state)
        allowed = {r: self._outcomes(state, r, certificates) for r in range(self.last_round + 1)}
        done: set[int] = set()
        for place, node in enumerate(state):
            if id(node) in done:
                continue  # an equal voter has been moved already
            done.add(id(node))
            rest = state[:place] + state[place + 1 :]
            for after in self._moves(node, certificates, allowed):
                if after is not node:
                    yield (*rest, after)

    def _moves(
        self, node: Node, certificates: Certificates, allowed: dict[int, set[Hash32]]
    ) -> Iterator[Node]:
        voter = node.voter
        last = self.last_round if self.thorough else min(voter.round + 1, self.last_round)
        for round_ in range(voter.round + 1, last + 1):
            entered = self.rules.enter(voter, round_)
            yield self._node(entered, {**node.statuses, round_: voter.highest})
        for round_, values in allowed.items():
            if round_ and round_ not in node.statuses:
                continue
            for value in values:
                yield from self._try(node, partial(self.rules.prepare, voter, round_, value))
        for certificate in certificates:
            if self.thorough:
                yield self._node(voter.see(certificate), node.statuses)
            yield from self._try(node, partial(self.rules.commit, voter, certificate))

    def _try(self, node: Node, vote: Callable[[], Voter]) -> Iterator[Node]:
        try:
            yield self._node(vote(), node.statuses)
        except VoteRefusedError:
            return

    def _certificates(self, state: State) -> Certificates:
        """What a quorum has prepared: all but one of its votes are honest."""
        return frozenset(self._quorate(node.voter.prepares for node in state))

    def _decisions(self, state: State) -> Certificates:
        if self.rules.decides_on_prepare:
            return self._certificates(state)
        return frozenset(self._quorate(node.voter.commits for node in state))

    def _quorate(self, votes: Iterable[object]) -> Iterator[Prepared]:
        counts: dict[tuple[int, Hash32], int] = {}
        for cast in votes:
            for vote in cast.items():  # type: ignore[attr-defined]
                counts[vote] = counts.get(vote, 0) + 1
        for (round_, value), count in counts.items():
            if count >= self.rules.quorum - 1:
                yield Prepared(round_, value)

    def _outcomes(self, state: State, round_: int, certificates: Certificates) -> set[Hash32]:
        """What can be proposed in a round so that honest voters accept it."""
        if round_ == 0:
            return {V, W}
        sent = [node.statuses[round_] for node in state if round_ in node.statuses]
        lies = [None, *(known for known in certificates if known.round < round_)]
        quorum = self.rules.quorum
        found = {self.rules.outcome(chosen) for chosen in combinations(sent, quorum)}
        for chosen in combinations(sent, quorum - 1):
            found |= {self.rules.outcome((*chosen, lie)) for lie in lies}
        return found

    # --- what must hold -----------------------------------------------------------------------

    def _check(self, state: State) -> None:
        decisions = self._decisions(state)
        self.facts.add(_facts(self._certificates(state), decisions))
        values = {decision.value for decision in decisions}
        if len(values) > 1:
            raise BrokenError(f"two decisions: {sorted(decisions)}")
        if values:
            self.decided += 1
            self._check_reproposed(state, min(decisions))
        self._check_live(state, values)

    def _check_reproposed(self, state: State, decision: Prepared) -> None:
        certificates = self._certificates(state)
        for round_ in range(decision.round + 1, self.last_round + 1):
            if self._outcomes(state, round_, certificates) - {decision.value}:
                raise BrokenError(f"something else is proposed after {decision}")

    def _check_live(self, state: State, decided: set[Hash32]) -> None:
        """From here on all is well: the honest ones alone finish a round nobody has entered."""
        round_ = max(node.voter.round for node in state) + 1
        statuses = [node.voter.highest for node in state]
        value = self.rules.outcome(statuses)
        try:
            for node in state:
                entered = self.rules.enter(node.voter, round_)
                prepared = self.rules.prepare(entered, round_, value)
                if round_ not in self.rules.commit(prepared, Prepared(round_, value)).commits:
                    raise BrokenError("a commitment is not remembered")
        except VoteRefusedError as refused:
            raise BrokenError(f"nobody can decide any more: {refused}") from refused
        if decided and value not in decided:
            raise BrokenError("the good case decides something else")

    # --- which states are the same ------------------------------------------------------------

    def _node(self, voter: Voter, statuses: dict[int, Prepared | None]) -> Node:
        key = (
            voter.round,
            tuple(sorted(voter.prepares.items())),
            tuple(sorted(voter.commits.items())),
            voter.highest,
            tuple(sorted((round_, status) for round_, status in statuses.items() if status)),
            tuple(statuses),
        )
        return self._nodes.setdefault(key, Node(voter, statuses))

    def _canonical(self, state: State) -> Key:
        """The same for states that differ in who is who, which value is which, or in the past.

        Of rounds that all honest voters have left only certificates and decisions matter. Where a
        round has its certificate, votes for it are spent as well: those left make no other one.
        """
        left = min(node.voter.round for node in state)
        certificates, decisions = self._certificates(state), self._decisions(state)
        spent: Rounds = frozenset()
        decided: Rounds = frozenset()
        if not self.thorough:
            spent = frozenset(known.round for known in certificates)
            decided = frozenset(known.round for known in decisions)
        here = sorted(self._key(node, left, spent, decided, swap=False) for node in state)
        there = sorted(self._key(node, left, spent, decided, swap=True) for node in state)
        known, swapped = _both_ways(certificates, decisions)
        return min((*here, known), (*there, swapped))

    def _key(self, node: Node, left: int, spent: Rounds, decided: Rounds, *, swap: bool) -> Key:
        name = (id(node), left, spent, decided, swap)
        known = self._keys.get(name)
        if known is None:
            swaps = SWAPPED if swap else {}
            known = self._keys[name] = _key_of(node, left, spent, decided, swaps)
        return known


def _both_ways(certificates: Certificates, decisions: Certificates) -> tuple[Key, Key]:
    known = (tuple(sorted(certificates)), tuple(sorted(decisions)))
    return known, tuple(tuple(sorted(map(_swapped, kept))) for kept in known)


def _facts(certificates: Certificates, decisions: Certificates) -> Key:
    return min(_both_ways(certificates, decisions))


def _swapped(prepared: Prepared) -> Prepared:
    return replace(prepared, value=SWAPPED[prepared.value])


def _key_of(
    node: Node, left: int, spent: Rounds, decided: Rounds, swaps: dict[Hash32, Hash32]
) -> Key:
    def name(value: Hash32) -> Hash32:
        return swaps.get(value, value)

    def named(certificate: Prepared | None) -> tuple[tuple[int, Hash32], ...]:
        return () if certificate is None else ((certificate.round, name(certificate.value)),)

    def votes(cast: Mapping[int, Hash32], over: Rounds) -> Key:
        open_ = (vote for vote in cast.items() if vote[0] >= left and vote[0] not in over)
        return tuple(sorted((round_, name(value)) for round_, value in open_))

    voter = node.voter
    statuses = ((r, s) for r, s in node.statuses.items() if r >= left and r not in spent)
    return (
        voter.round,
        votes(voter.prepares, spent),
        votes(voter.commits, decided),
        named(voter.highest),
        tuple(sorted((round_, named(status)) for round_, status in statuses)),
    )
