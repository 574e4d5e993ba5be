"""Random calls of every kind, compared with a plain model of all four services."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.contracts import bytecode
from tests.contracts.chain import Chain, Contract, RevertError, key_of, public_of
from tests.contracts.service_model import EventData, RefusedError, ServiceModel
from tests.contracts.world import (
    ALL_SERVICES,
    CLIENT,
    COMBINED,
    GENERATION,
    OTHER_CLIENT,
    OTHER_POINT,
    POINT,
    RETRIEVAL,
    SHADOW_RETRIEVAL,
    STORE,
    STRANGER,
    THIRD_POINT,
    Service,
    deploy_set,
)

KEYS = [bytes([number]) * 32 for number in (1, 2, 3)]
POINTS = [POINT, OTHER_POINT, THIRD_POINT]
CLIENTS = [CLIENT, OTHER_CLIENT]
FIRST_SERVER = 101


def address(number: int) -> str:
    return str(key_of(number).address)


@dataclass(slots=True)
class Comparison:
    """One combined contract and its model, and the key server set behind both."""

    chain: Chain
    rng: random.Random
    key_servers: Contract
    contract: Contract
    model: ServiceModel
    members: list[int]
    pool: Sequence[int]
    initialized: bool

    # --- both sides of one call

    def compare(
        self,
        function: str,
        args: tuple[Any, ...],
        expected: Callable[[], list[EventData]],
        sender: int = 1,
        value: int = 0,
    ) -> None:
        try:
            wanted = expected()
        except RefusedError:
            wanted = None
        try:
            receipt = self.contract.send(function, *args, sender=sender, value=value)
            told = [(event.name, event.args) for event in receipt.events]
        except RevertError:
            told = None
        assert told == wanted, (function, args, sender)

    def compare_state(self) -> None:
        service, server = self.rng.choice(ALL_SERVICES), self.some_server()
        listed = self.model.listed(service)
        assert self.contract.call(f"{service.lower}RequestsCount") == len(listed)
        for index, entry in enumerate(listed):
            assert self.contract.call(f"get{service.noun}Request", index) == entry
        subject = self.some_subject(service)
        try:
            wanted = self.model.required(service, subject, address(server))
        except RefusedError:
            wanted = None
        try:
            args = (*subject, address(server))
            told = self.contract.call(f"is{service.noun}ResponseRequired", *args)
        except RevertError:
            told = None
        assert told == wanted, (service.noun, args)

    def compare_balances(self) -> None:
        for server in (*self.pool, STRANGER):
            told = self.contract.call("keyServerBalance", address(server))
            assert told == self.model.balances[address(server)]
        assert self.chain.balance(self.contract.address) == self.model.balances.total()

    # --- choices

    @property
    def rare(self) -> float:
        """How often a server does what ends a request that needs all of them."""
        return 0.2 / len(self.members)

    def some_server(self) -> int:
        others = [*self.pool, STRANGER]
        return self.rng.choice(self.members if self.rng.random() < 0.9 else others)

    def some_subject(self, service: Service) -> tuple[Any, ...]:
        pending = self.model.pending[service.noun]
        if pending and self.rng.random() < 0.9:
            return self.rng.choice(pending).subject
        key = self.rng.choice(KEYS)
        if service is SHADOW_RETRIEVAL:
            return key, address(self.rng.choice(CLIENTS))
        return (key,)

    def some_point(self) -> bytes:
        weights = [50, 5, 3, 1]
        return self.rng.choices([*POINTS, POINT[:63]], weights)[0]

    def some_threshold(self) -> int:
        count = len(self.members)
        choices = [min(1, count - 1), 0, count // 2, count - 1, count, 254, 255]
        return self.rng.choices(choices, [50, 5, 5, 4, 2, 1, 1])[0]

    def some_mask(self, server: int, need: int) -> int:
        """Mostly a good one, and mostly the same one."""
        if self.rng.random() < 0.1:
            return self.rng.choice([0, 1, 2**256 - 1, 1 << len(self.members), 0b111])
        count = len(self.members)
        if self.rng.random() < 0.7 or need > count:
            return (1 << need) - 1
        indices = self.rng.sample(range(count), need)
        if server in self.members and self.rng.random() < 0.9:
            indices[0] = self.members.index(server)
        return sum(1 << index for index in set(indices))

    # --- calls

    def request(self) -> None:
        service = self.rng.choice(ALL_SERVICES)
        client, key = self.rng.choice(CLIENTS), self.rng.choice(KEYS)
        match service.noun:
            case GENERATION.noun:
                args: tuple[Any, ...] = key, self.some_threshold()
            case RETRIEVAL.noun:
                args = (key,)
            case STORE.noun:
                args = key, self.some_point(), self.some_point()
            case _:
                owner = client if self.rng.random() < 0.9 else STRANGER
                args = key, public_of(owner)
        value = service.fee + self.rng.choice([-1, 0, 0, 0, 1, 7, 10**18])
        name, block = address(client), self.chain.block + 1
        self.compare(
            service.request,
            args,
            partial(self.model.request, service, args, name, value, block),
            client,
            value,
        )

    def answers(self) -> None:
        """Some servers answer one request, some of them twice or wrongly."""
        service = self.rng.choice(ALL_SERVICES)
        subject = self.some_subject(service)
        # A few of them, or all until the request is settled; then one more.
        few, everybody = self.rng.randint(1, 3), len(self.members)
        count = min(everybody, few) if self.rng.random() < 0.6 else everybody
        for server in self.rng.sample(self.members, count):
            self.answer_or_error(service, subject, server)
            if self.model.find(service, subject) is None:
                break
        self.answer_or_error(service, subject, self.some_server())

    def answer_or_error(self, service: Service, subject: tuple[Any, ...], server: int) -> None:
        if self.rng.random() < self.rare:
            expected = partial(self.model.error, service, address(server), subject)
            self.compare(service.error, subject, expected, server)
        else:
            self.answer(service, subject, server)

    def answer(self, service: Service, subject: tuple[Any, ...], server: int) -> None:
        request = self.model.find(service, subject)
        agreed = request.threshold if request else None
        call: Callable[..., list[EventData]]
        match service.noun:
            case GENERATION.noun:
                function, call = "serverKeyGenerated", self.model.generated
                # One differing answer ends it: mostly not.
                args: tuple[Any, ...] = (
                    self.some_point() if self.rng.random() < self.rare else POINT,
                )
            case RETRIEVAL.noun:
                function, call = "serverKeyRetrieved", self.model.retrieved
                args = self.some_point(), self.some_threshold()
            case STORE.noun:
                function, call, args = "documentKeyStored", self.model.stored, ()
            case _ if agreed is None or self.rng.random() < 0.1:
                function, call = "documentKeyCommonRetrieved", self.model.common
                args = self.some_point(), self.some_threshold()
            case _:
                function, call = "documentKeyPersonalRetrieved", self.model.personal
                shadow = bytes(self.rng.choices([145, 1, 1024, 0, 1025], [20, 2, 2, 1, 1])[0])
                args = self.some_mask(server, agreed + 1), self.some_point(), shadow
        self.compare(
            function,
            (*subject, *args),
            partial(call, address(server), *subject, *args),
            server,
        )

    def end(self) -> None:
        service = self.rng.choice(ALL_SERVICES)
        subject, block = self.some_subject(service), self.chain.block + 1
        if self.rng.random() < 0.5:
            name, expected = "delete", partial(self.model.delete, service, subject)
        else:
            name, expected = "expire", partial(self.model.expire, service, subject, block)
        self.compare(f"{name}{service.noun}Request", subject, expected)

    def drain(self) -> None:
        server = self.some_server()
        self.compare("drain", (), partial(self.model.drain, address(server)), server)

    def administrate(self) -> None:
        if self.rng.random() < 0.5:
            self.model.lifetime = self.rng.choice([0, 5, 40])
            self.contract.send("setRequestLifetimeBlocks", self.model.lifetime)
        else:
            service = self.rng.choice(ALL_SERVICES)
            limit = self.model.limits[service.noun] = self.rng.choice([0, 2, 4, 8])
            self.contract.send(f"setMax{service.noun}Requests", limit)

    def change_set(self) -> None:
        """One server more or less, or the same servers behind another set contract."""
        if self.rng.random() < 0.2:
            target = self.key_servers.address
            # Over a set without lists edits before initialization are told from nothing.
            if self.initialized and self.rng.random() < 0.7:
                target = bytecode.set_without_lists(self.chain, target)
            self.contract.send("setKeyServerSetAddress", target)
        else:
            self.edit_members()
        self.model.change_set([address(member) for member in self.members])

    def edit_members(self) -> None:
        outside = [server for server in self.pool if server not in self.members]
        if outside and (len(self.members) == 1 or self.rng.random() < 0.6):
            server = self.rng.choice(outside)
            self.key_servers.send("addKeyServer", public_of(server), "10.0.0.1:1")
            self.members.append(server)
        else:
            index = self.rng.randrange(len(self.members))
            self.key_servers.send("removeKeyServer", address(self.members[index]))
            self.members[index] = self.members[-1]
            self.members.pop()
        if self.initialized:
            migration = self.rng.randbytes(32)
            self.key_servers.send("startMigration", migration, sender=self.members[0])
            for member in self.members:
                self.key_servers.send("confirmMigration", migration, sender=member)

    def run(self, steps: int) -> None:
        kinds = [self.request, self.answers, self.end, self.drain, self.administrate]
        for step in range(steps):
            if step % 12 == 11:
                self.change_set()
                self.compare_balances()
            else:
                self.rng.choices(kinds, [45, 38, 10, 5, 2])[0]()
            self.compare_state()
        self.compare_balances()


def comparison(chain: Chain, number: int, count: int, initialized: bool) -> Comparison:
    pool = range(FIRST_SERVER, FIRST_SERVER + count + 2)
    members = list(pool[:count])
    key_servers = deploy_set(chain, members, initialized)
    contract = chain.deploy(COMBINED, key_servers.address)
    model = ServiceModel([address(member) for member in members])
    for server in pool:
        chain.address(server)
    rng = random.Random(number)
    return Comparison(chain, rng, key_servers, contract, model, members, pool, initialized)


@pytest.mark.parametrize(
    ("number", "count", "initialized", "steps"),
    [(1, 3, False, 50), (2, 4, True, 50), (3, 5, False, 50), (4, 25, False, 12)],
)
def test_random_calls(chain: Chain, number: int, count: int, initialized: bool, steps: int) -> None:
    comparison(chain, number, count, initialized).run(steps)
