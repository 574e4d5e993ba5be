"""What customers of a world order through the contracts, and what each order must come to.

An order is open until the canonical chain has its outcome with some blocks above; it opens again
when a reorganisation takes the outcome. What the chain says is checked with the means of clients.
"""

from bisect import bisect
from dataclasses import dataclass
from typing import Any, Protocol

from keyserver.crypto import ecies
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.elgamal import encrypt_document_key, recover_document_key
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import Address, KeyId
from keyserver.simulation.chain import VirtualChain
from keyserver.simulation.contracts import permissions
from keyserver.simulation.contracts.queue import ARTIFACT as SERVICE
from keyserver.simulation.customers import Customer, Seen, Wish, events
from keyserver.simulation.scenarios.violation import Violation, require


@dataclass(frozen=True, slots=True)
class Market:
    """Where everything is."""

    chain: VirtualChain
    service: Address
    permissions: Address
    depth: int
    """Blocks above an outcome until a customer believes it: no reorganisation reaches it."""
    hopeless_blocks: int
    """A request as old as this may be refused because nothing has come of it."""


class Order(Protocol):
    """A request and its outcome."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def asked(self) -> "Asked":
        """The requests for it."""
        ...

    def outcomes(self) -> list[Seen]:
        """Results and errors on the canonical chain, the oldest first."""
        ...

    def check(self) -> None:
        """Raise `Violation` if what is there is wrong or too much."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether it has its outcome now."""
        ...


@dataclass
class Asked:
    """What all orders share: the transactions that ask, and where to look for answers."""

    market: Market
    customer: Customer
    key_id: KeyId
    wishes: list[Wish]

    def blocks(self) -> list[int]:
        """Where the requests are."""
        found = (self.customer.block_of(wish) for wish in self.wishes)
        return [block for block in found if block is not None]

    def seen(self, name: str, *, mine: bool = False) -> list[Seen]:
        """Events of this key, or of this key and customer."""
        blocks = self.blocks()
        since = min(blocks) if blocks else len(self.market.chain.blocks)
        key, account = self.key_id, self.customer.address
        return events(
            self.market.chain,
            SERVICE,
            name,
            since,
            lambda values: values[0] == key and (not mine or values[1] == account),
        )

    def ask(self, method: str, *arguments: Any) -> None:
        """Send a request."""
        wish = self.customer.wish(self.market.service, SERVICE, method, *arguments, pays=True)
        self.wishes.append(wish)

    def requests(self) -> int:
        """How many requests the contract has accepted."""
        accepted = 0
        for wish in self.wishes:
            receipts = (self.market.chain.receipt(each.hash) for each in wish.transactions)
            accepted += sum(receipt is not None and receipt.succeeded for receipt in receipts)
        return accepted

    def is_deep(self, seen: Seen) -> bool:
        """Whether a customer believes it."""
        return seen.log.block_number + self.market.depth <= self.market.chain.head.number


def _one_answer_each(order: Order, answers: int) -> None:
    require(answers <= order.asked.requests(), "a request was answered twice", order.name)


class GenerateOrder:
    """A server key; an error is believed only when the request has become hopeless."""

    def __init__(self, market: Market, author: Customer, key_id: KeyId, threshold: int) -> None:
        self.threshold = threshold
        self.asked = Asked(market, author, key_id, [])
        self.name = f"generation of {key_id.hex()[:8]}"
        self._ask()

    def _ask(self) -> None:
        self.asked.ask("generateServerKey", self.asked.key_id, self.threshold)

    def outcomes(self) -> list[Seen]:
        """`ServerKeyGenerated`."""
        return self.asked.seen("ServerKeyGenerated")

    def errors(self) -> list[Seen]:
        """`ServerKeyGenerationError`."""
        return self.asked.seen("ServerKeyGenerationError")

    @property
    def is_done(self) -> bool:
        """Whether there is a key."""
        return any(self.asked.is_deep(seen) for seen in self.outcomes())

    def public(self) -> Point:
        """The key; only when it is done."""
        return Point.from_raw64(self.outcomes()[0].values[1])

    def check(self) -> None:
        """One key for ever, and no error before its time."""
        errors, made = self.errors(), self.outcomes()
        publics = {seen.values[1] for seen in made}
        require(len(publics) <= 1, "a key was generated twice", self.name)
        _one_answer_each(self, len(made) + len(errors))
        for earlier, seen in zip([None, *errors], errors, strict=False):
            require(
                self._is_hopeless(seen) or (earlier is not None and self._is_stray(earlier, seen)),
                "a request was refused without reason",
                f"{self.name} in block {seen.log.block_number}",
            )

    def _is_hopeless(self, error: Seen) -> bool:
        """Whether the request was so old that nodes may give it up."""
        block = error.log.block_number
        asked = max(b for b in self.asked.blocks() if b <= block)
        return block - asked >= self.asked.market.hopeless_blocks

    def _is_stray(self, earlier: Seen, error: Seen) -> bool:
        """Whether it may be meant for the request that was given up before.

        Contracts do not tell a request from its repetition, and one error ends it: an answer to
        the first that is mined late hits the second.
        """
        late = error.log.block_number - earlier.log.block_number
        return late <= self.asked.market.hopeless_blocks

    def again(self) -> None:
        """Ask again if the last request was refused."""
        errors = self.errors()
        refused = len(errors) == len(self.asked.wishes) == self.asked.requests()
        if refused and not self.is_done and self.asked.is_deep(errors[-1]):
            self._ask()


class PublicOrder:
    """The public of a server key."""

    def __init__(self, market: Market, customer: Customer, made: GenerateOrder) -> None:
        self._made = made
        self.asked = Asked(market, customer, made.asked.key_id, [])
        self.name = f"public of {made.asked.key_id.hex()[:8]}"
        self.asked.ask("retrieveServerKey", self.asked.key_id)

    def outcomes(self) -> list[Seen]:
        """`ServerKeyRetrieved`, the long form."""
        return self.asked.seen("ServerKeyRetrieved(bytes32,bytes,uint256)")

    @property
    def is_done(self) -> bool:
        """Whether it was told."""
        return any(self.asked.is_deep(seen) for seen in self.outcomes())

    def check(self) -> None:
        """It is the one that was generated."""
        errors, told = self.asked.seen("ServerKeyRetrievalError"), self.outcomes()
        require(not errors, "a request was refused without reason", self.name)
        _one_answer_each(self, len(told))
        for seen in told:
            wanted = self._made.public().raw64, self._made.threshold
            require(seen.values[1:] == wanted, "a wrong public was told", self.name)


class StoreOrder:
    """A document key."""

    def __init__(
        self, market: Market, author: Customer, made: GenerateOrder, random: SeededRandom
    ) -> None:
        self.document_key = SecretScalar.random(random).public()
        sealed = encrypt_document_key(made.public(), self.document_key, random)
        self.common, self.encrypted = sealed.common, sealed.encrypted
        self.asked = Asked(market, author, made.asked.key_id, [])
        self.name = f"document key of {made.asked.key_id.hex()[:8]}"
        points = self.common.raw64, self.encrypted.raw64
        self.asked.ask("storeDocumentKey", self.asked.key_id, *points)

    def outcomes(self) -> list[Seen]:
        """`DocumentKeyStored`."""
        return self.asked.seen("DocumentKeyStored")

    @property
    def is_done(self) -> bool:
        """Whether it is stored."""
        return any(self.asked.is_deep(seen) for seen in self.outcomes())

    def check(self) -> None:
        """Nobody refused it."""
        errors = self.asked.seen("DocumentKeyStoreError")
        require(not errors, "a request was refused without reason", self.name)
        _one_answer_each(self, len(self.outcomes()))


class GrantOrder:
    """The users of a key; an empty list takes every permission back."""

    def __init__(
        self, market: Market, admin: Customer, key_id: KeyId, users: list[Address]
    ) -> None:
        self.asked = Asked(market, admin, key_id, [])
        self.name = f"users of {key_id.hex()[:8]}"
        wish = admin.wish(
            market.permissions, permissions.ARTIFACT, "permission", key_id, users, pays=False
        )
        self.asked.wishes.append(wish)

    def outcomes(self) -> list[Seen]:
        """Nobody has to answer."""
        return []

    @property
    def is_done(self) -> bool:
        """Whether it is on the chain, with blocks above."""
        market = self.asked.market
        head = market.chain.head.number
        return any(block + market.depth <= head for block in self.asked.blocks())

    def check(self) -> None:
        """There is nothing that could be wrong."""


class ShadowOrder:
    """A document key for somebody who may have it."""

    def __init__(self, market: Market, customer: Customer, stored: StoreOrder, t: int) -> None:
        self._stored, self._threshold = stored, t
        self.asked = Asked(market, customer, stored.asked.key_id, [])
        self.name = f"shadow of {stored.asked.key_id.hex()[:8]}"
        public = customer.public.raw64
        self.asked.ask("retrieveDocumentKeyShadow", self.asked.key_id, public)

    def outcomes(self) -> list[Seen]:
        """The last of the answers that are needed, each time."""
        return [answers[-1] for answers in self._complete()]

    @property
    def is_done(self) -> bool:
        """Whether t + 1 nodes have told their part."""
        return any(self.asked.is_deep(seen) for seen in self.outcomes())

    def check(self) -> None:
        """What they have told opens to the document key."""
        errors = self.asked.seen("DocumentKeyShadowRetrievalError", mine=True)
        require(not errors, "a request was refused without reason", self.name)
        complete = self._complete()
        _one_answer_each(self, len(complete))
        for answers in complete:
            require(
                self._opened(answers) == self._stored.document_key,
                "a wrong document key was retrieved",
                self.name,
            )

    def _complete(self) -> list[list[Seen]]:
        """Answers with the same secret, t + 1 of them to the same question of the contract.

        It asks the servers anew when their set has changed, and drops what came before.
        """
        public = self.asked.customer.public.raw64
        asked = [
            seen.place
            for seen in self.asked.seen("DocumentKeyPersonalRetrievalRequested")
            if seen.values[1] == public
        ]
        together: dict[tuple[int, bytes], list[Seen]] = {}
        for seen in self.asked.seen("DocumentKeyPersonalRetrieved", mine=True):
            question = bisect(asked, seen.place)
            together.setdefault((question, seen.values[2]), []).append(seen)
        return [each for each in together.values() if len(each) >= self._threshold + 1]

    def _opened(self, answers: list[Seen]) -> Point:
        told = self.asked.seen("DocumentKeyCommonRetrieved", mine=True)
        require(bool(told), "answers came before what is common to them", self.name)
        common = Point.from_raw64(told[-1].values[2])
        secret = self.asked.customer.secret
        shadows = [SecretScalar(ecies.decrypt(secret, seen.values[3])) for seen in answers]
        return recover_document_key(Point.from_raw64(answers[0].values[2]), common, shadows)


class DeniedOrder:
    """A document key for somebody who may not have it."""

    def __init__(self, market: Market, customer: Customer, key_id: KeyId) -> None:
        self.asked = Asked(market, customer, key_id, [])
        self.name = f"forbidden shadow of {key_id.hex()[:8]}"
        self.asked.ask("retrieveDocumentKeyShadow", key_id, customer.public.raw64)

    def outcomes(self) -> list[Seen]:
        """`DocumentKeyShadowRetrievalError`."""
        return self.asked.seen("DocumentKeyShadowRetrievalError", mine=True)

    @property
    def is_done(self) -> bool:
        """Whether it was refused."""
        return any(self.asked.is_deep(seen) for seen in self.outcomes())

    def check(self) -> None:
        """Nobody told anything."""
        _one_answer_each(self, len(self.outcomes()))
        told = self.asked.seen("DocumentKeyPersonalRetrieved", mine=True)
        if told:
            raise Violation("a document key was given to somebody who may not have it", self.name)
