"""The seal of one process behind its routes, complete but for the database and the sockets."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette

from keyserver.api.administrators import Administrators
from keyserver.api.operator_seal import PeerLine, SealRoutes, seal_routes
from keyserver.api.refusals import Refusals
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import address_of
from keyserver.crypto.randomness import SeededRandom
from keyserver.errors import StorageError
from keyserver.model.identifiers import Address, NodeId
from keyserver.sealing.callers import CallerRegistry
from keyserver.sealing.making import initialise
from keyserver.sealing.ports import AuditOutcome, ReplicaFacts, SealState
from keyserver.sealing.rekeys import Rekeys
from keyserver.sealing.signed_requests import sign_request
from keyserver.sealing.tokens import StoredToken
from keyserver.sealing.upkeep import Upkeep
from keyserver.sealing.vault import Vault
from tests.support.asgi import call
from tests.support.manual_clock import ManualClock
from tests.support.raw_http import Answer
from tests.support.sealing import NOW_MS, AuditList, MemorySealStore, documents

NODE_KEY = SecretScalar.from_int(77)
NODE = NodeId.of(NODE_KEY.public())
OTHER_NODE = NodeId.of(SecretScalar.from_int(78).public())
ADMIN, STRANGER = SecretScalar.from_int(1001), SecretScalar.from_int(1002)


def address_of_key(key: SecretScalar) -> Address:
    return Address(address_of(key.public().raw64))


class UsedNonces:
    """`RequestNonces` in memory."""

    def __init__(self) -> None:
        self.used: set[tuple[Address, bytes]] = set()
        self.fails = False

    async def take(self, address: Address, nonce: bytes, *, now: int, expires_at: int) -> bool:
        if self.fails:
            raise StorageError("the database does not answer")
        is_new = (address, nonce) not in self.used
        self.used.add((address, nonce))
        return is_new


class NoTokens:
    """`TokenStore` without any."""

    async def find(self, token_id: str) -> StoredToken | None:
        return None

    async def used(self, token_id: str, at: int) -> None:
        raise AssertionError("there are none")

    async def add(self, token: StoredToken) -> None:
        raise AssertionError("nobody makes any")

    async def delete(self, token_id: str) -> bool:
        return False

    async def page(self, after: str, limit: int) -> Sequence[StoredToken]:
        return ()


class SealDesk:
    """One process; `started` gives it 2 of 3 shares."""

    def __init__(self, *, admins: Sequence[SecretScalar] = (), is_local: bool = True) -> None:
        self.store, self.audit, self.clock = MemorySealStore(), AuditList(), ManualClock()
        self.random = SeededRandom(11)
        self.vault = Vault(self.store, self.audit, random=self.random, clock=self.clock)
        self.upkeep = Upkeep(
            self.vault,
            self.store,
            self.audit,
            random=self.random,
            clock=self.clock,
            rotate_days=90,
        )
        self.rekeys = Rekeys(self.vault, self.audit, random=self.random, clock=self.clock)
        addresses = [address_of_key(key) for key in admins]
        self.nonces = UsedNonces()
        self.callers = CallerRegistry(NODE, addresses, self.nonces, NoTokens(), self.clock)
        monotonic = self.clock.monotonic
        self.denied = Refusals("auth.denied", self.audit, monotonic, AuditOutcome.DENIED)
        self.bad_shares = Refusals("seal.unseal.share", self.audit, monotonic, AuditOutcome.REFUSED)
        self.replicas: list[ReplicaFacts] = []
        self.peers: list[PeerLine] = []
        self.shares: list[str] = []
        needs = SealRoutes(
            self.vault,
            self.upkeep,
            self.rekeys,
            Administrators(self.callers, is_local, self.denied),
            self.bad_shares,
            self._all_replicas,
            lambda: {"boot_id": "boot-1", "replica": "boot-1", "version": "1"},
            lambda: self.peers,
        )
        self.app = Starlette(routes=seal_routes(needs))

    async def started(self, *, shares: int = 3, threshold: int = 2) -> "SealDesk":
        """Sealed, with shares in `shares`."""
        new = await initialise(
            self.store,
            self.audit,
            node_secret=NODE_KEY,
            shares=shares,
            threshold=threshold,
            source=None,
            random=self.random,
            now_ms=NOW_MS,
        )
        self.shares = documents(new)
        self.audit.entries.clear()
        await self.vault.load()
        return self

    async def open(self) -> "SealDesk":
        """Unsealed."""
        for share in self.shares[: self.vault.status().required]:
            await self.vault.submit(share)
        assert self.vault.is_open
        self.audit.entries.clear()
        return self

    async def _all_replicas(self) -> Sequence[ReplicaFacts]:
        return self.replicas

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | bytes | None = None,
        *,
        key: SecretScalar | None = None,
        node: NodeId = NODE,
        headers: Sequence[tuple[str, str]] = (),
        client: str = "127.0.0.1",
        host: str | None = "127.0.0.1:8090",
    ) -> Answer:
        """A request to `/v1/seal/…`, signed by `key`."""
        target = f"/v1/seal/{path}"
        if isinstance(body, bytes):
            data = body
        else:
            data = b"" if body is None else json.dumps(body).encode()
        sent = [*([] if host is None else [("host", host)]), *headers]
        if key is not None:
            sent.append(("authorization", self.signed(key, method, target, data, node)))
        return await call(self.app, method, target, sent, data, (client, 50_000))

    def signed(
        self, key: SecretScalar, method: str, target: str, data: bytes = b"", node: NodeId = NODE
    ) -> str:
        """The credential for a request."""
        now = self.clock.unix()
        return sign_request(key, node, method, target, data, now=now, random=self.random)

    async def give(self, share: str, client: str = "127.0.0.1") -> Answer:
        """A share, unsigned as shares are."""
        return await self.ask("POST", "unseal", {"share": share}, client=client)


def fields(answer: Answer) -> Any:
    """The answer's JSON; Any: tests look into it."""
    return json.loads(answer.body)


def refusal(answer: Answer) -> tuple[int, str]:
    """Status and code of an error."""
    return answer.status, fields(answer)["error"]["code"]


def replica(replica_id: str, state: SealState, *, live: bool = True, url: str = "") -> ReplicaFacts:
    """A row of the list of replicas."""
    return ReplicaFacts(
        replica_id, url, state, 0, 2, 1, 1, "1", NOW_MS, NOW_MS, live=live, active=False
    )


@contextmanager
def unchanged(desk: SealDesk) -> Iterator[None]:
    """Nothing about the seal may differ afterwards."""
    before = desk.vault.status(), desk.store.stored, desk.store.stored_identity
    yield
    assert (desk.vault.status(), desk.store.stored, desk.store.stored_identity) == before
