"""Who may order something on the operator listener."""

from pathlib import Path

import pytest

from keyserver.api.refusals import MOST_OF_ONE
from keyserver.sealing.ports import Actor, ActorKind, AuditOutcome, Scope
from tests.support.raw_http import Answer
from tests.support.seal_desk import (
    ADMIN,
    OTHER_NODE,
    STRANGER,
    SealDesk,
    address_of_key,
    fields,
    refusal,
)
from tests.support.service_key_desk import ADMIN as OWNERS_ADMIN
from tests.support.service_key_desk import Desk, opened_store

LOCAL = Actor(ActorKind.LOCAL)


async def order(desk: SealDesk, **how: object) -> Answer:
    """An order that works while the node is open."""
    return await desk.ask("POST", "rotate", **how)  # type: ignore[arg-type]


@pytest.fixture
async def administered() -> SealDesk:
    """Open, with an administrator."""
    return await (await SealDesk(admins=[ADMIN]).started()).open()


async def test_before_there_are_administrators_this_machine_may() -> None:
    desk = await (await SealDesk().started()).open()
    assert (await order(desk)).status == 200
    assert desk.audit.entries[-1][:3] == ("seal.rotate", AuditOutcome.OK, LOCAL)


async def test_but_nobody_on_a_network() -> None:
    desk = await (await SealDesk(is_local=False).started()).open()
    assert refusal(await order(desk)) == (403, "FORBIDDEN")
    assert refusal(await order(desk, key=ADMIN)) == (403, "FORBIDDEN")
    assert desk.audit.actions() == ["auth.denied"] * 2


async def test_without_administrators_a_token_with_the_scope_counts_on_a_network(
    tmp_path: Path,
) -> None:
    async with opened_store(tmp_path) as database:
        desk = Desk(database, admins=(), is_local=False)
        admin = await desk.token("ops", (Scope.KEYS_ADMIN,))
        user = await desk.token("svc:mail")
        target = "/v1/admin/owners"
        assert (await desk.order("GET", target, key=None, token=admin)).status == 200
        for key, token, status in (
            (None, user, 403),
            (None, None, 403),
            (OWNERS_ADMIN, None, 403),
            (None, admin[:-8] + "AAAAAAAA", 401),
        ):
            assert (await desk.order("GET", target, key=key, token=token)).status == status
        desk.clock.advance(31 * 24 * 60 * 60)
        assert (await desk.order("GET", target, key=None, token=admin)).status == 401
        assert desk.audit.actions[-5:] == ["auth.denied"] * 5


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8090", "localhost", "[::1]:8090", "[::1]", "127.1.2.3"]
)
async def test_names_of_this_machine(host: str | None) -> None:
    desk = await (await SealDesk().started()).open()
    assert (await order(desk, host=host)).status == 200


@pytest.mark.parametrize(
    "header",
    [
        ("origin", "http://127.0.0.1:8090"),
        ("origin", "null"),
        ("host", "node.example:8090"),
        ("host", "192.0.2.1:8090"),
        ("host", "127.0.0.1.example"),
    ],
)
async def test_web_pages_may_not(header: tuple[str, str]) -> None:
    """A page in a browser on this machine, also one under a name that resolves to it."""
    desk = await (await SealDesk().started()).open()
    host = None if header[0] == "host" else "127.0.0.1:8090"
    answer = await desk.ask("POST", "rotate", headers=[header], host=host)
    assert refusal(answer) == (403, "FORBIDDEN")
    assert desk.vault.status().term == 1


async def test_an_administrator_signs(administered: SealDesk) -> None:
    assert (await order(administered, key=ADMIN)).status == 200
    name = f"0x{address_of_key(ADMIN).hex()}"
    assert administered.audit.entries[-1][2] == Actor(ActorKind.ETH, name)


async def test_nobody_else(administered: SealDesk) -> None:
    assert refusal(await order(administered)) == (401, "UNAUTHENTICATED")
    assert refusal(await order(administered, key=STRANGER)) == (403, "FORBIDDEN")
    assert refusal(await order(administered, key=ADMIN, node=OTHER_NODE)) == (403, "FORBIDDEN")
    for text in ("", "Keyserver-Eth", "Keyserver-Eth ts=1", "Bearer kst1_x", "Basic YTpi"):
        answer = await order(administered, headers=[("authorization", text)])
        assert refusal(answer) == (401, "UNAUTHENTICATED"), text
    assert administered.vault.status().term == 1


async def test_strangers_write_nothing(administered: SealDesk) -> None:
    """Not even the nonce of a signature that is good, but nobody's: anybody can make many."""
    nonce_of = administered.signed(STRANGER, "POST", "/v1/seal/rotate")
    for _ in range(3):
        answer = await order(administered, headers=[("authorization", nonce_of)])
        assert refusal(answer) == (403, "FORBIDDEN")
    assert administered.nonces.used == set()


async def test_a_signature_is_for_one_request(administered: SealDesk) -> None:
    path, body = "rekey", b'{"threshold":2,"shares":3}'
    good = administered.signed(ADMIN, "POST", f"/v1/seal/{path}", body)
    others = [
        ("POST", "rekey", b'{"threshold":1,"shares":1}'),
        ("POST", "rekey?x=1", body),
        ("POST", "rotate", body),
        ("POST", "seal", b""),
        ("GET", "replicas", body),
    ]
    for method, other, data in others:
        answer = await administered.ask(method, other, data, headers=[("authorization", good)])
        assert refusal(answer) == (403, "FORBIDDEN"), (method, other)
    answer = await administered.ask("POST", path, body, headers=[("authorization", good)])
    assert answer.status == 201
    answer = await administered.ask("POST", path, body, headers=[("authorization", good)])
    assert refusal(answer) == (401, "NONCE_USED")


async def test_a_signature_has_its_time(administered: SealDesk) -> None:
    early = administered.signed(ADMIN, "POST", "/v1/seal/rotate")
    administered.clock.advance(61)
    answer = await order(administered, headers=[("authorization", early)])
    assert refusal(answer) == (401, "SIGNATURE_EXPIRED")


async def test_refusals_are_written_down_once_each_and_then_summed(
    administered: SealDesk,
) -> None:
    for _ in range(MOST_OF_ONE + 5):
        await order(administered, key=STRANGER)
    assert administered.audit.actions() == ["auth.denied"] * MOST_OF_ONE
    entry = administered.audit.entries[0]
    assert entry[1:] == (
        AuditOutcome.DENIED,
        Actor(ActorKind.ETH, f"0x{address_of_key(STRANGER).hex()}"),
        {"address": "127.0.0.1", "code": "FORBIDDEN"},
    )
    await administered.denied.write_sums()
    assert administered.audit.entries[-1][3] == {"code": "FORBIDDEN", "count": 5}
    assert (await order(administered, key=ADMIN)).status == 200, "a good one is never refused"


async def test_what_cannot_be_written_down_is_not_done(administered: SealDesk) -> None:
    administered.audit.fails = True
    assert refusal(await order(administered, key=STRANGER)) == (503, "AUDIT_UNAVAILABLE")
    assert refusal(await order(administered, key=ADMIN)) == (503, "AUDIT_UNAVAILABLE")
    assert administered.vault.status().term == 1


async def test_administrators_are_told_more(administered: SealDesk) -> None:
    open_to_all = await administered.ask("GET", "status")
    assert open_to_all.status == 200
    assert "term" not in fields(open_to_all)
    assert fields(await administered.ask("GET", "status", key=ADMIN))["term"] == 1
    assert refusal(await administered.ask("GET", "status", key=STRANGER)) == (403, "FORBIDDEN")
    remote = await (await SealDesk(is_local=False).started()).open()
    assert "term" not in fields(await remote.ask("GET", "status"))
    assert refusal(await remote.ask("GET", "status", key=ADMIN)) == (403, "FORBIDDEN")
