"""Attacks on our own way of opening nodes, handing out keys and writing down what was done."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyrage
import pytest
import pytest_asyncio

from keyserver.cli.main import main
from keyserver.cli.output import FAILED
from keyserver.crypto.curve import SecretScalar
from keyserver.sealing.errors import AuditUnavailableError, SealedError
from keyserver.sealing.ports import SYSTEM, AuditOutcome, SealState
from keyserver.sealing.vault import Vault
from keyserver.storage.audit_file import AuditFiles
from keyserver.storage.database import opened
from tests.support.manual_clock import ManualClock
from tests.support.seal_desk import ADMIN, SealDesk, fields, refusal
from tests.support.service_key_desk import Desk, code_of, fields_of, owner_path, service_path

STRANGERS = [SecretScalar.from_int(number) for number in range(9000, 9030)]


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(f"sqlite:///{tmp_path / 'store.sqlite'}") as database:
        yield Desk(database)


async def test_own_a_flood_of_bad_shares_from_everywhere() -> None:
    """Bad shares come from 300 addresses, among them altered good ones, until every limit is
    reached. The state of the seal is the same, and the operators, whose addresses the flood uses,
    open the node with their first try."""
    desk = await SealDesk().started()
    good = json.loads(desk.shares[0])["mnemonic"]
    words = good.split()
    bad = [
        "hello",
        " ".join(words[:-1]),
        " ".join([*words[:-1], "academic"]),
        " ".join([words[1], words[0], *words[2:]]),
        desk.shares[0].replace('"epoch":1', '"epoch":2'),
        desk.shares[0].replace('"member":0', '"member":1'),
    ]
    before = desk.vault.status()
    statuses = set()
    for number in range(300):
        answer = await desk.give(bad[number % len(bad)], client=f"10.0.{number % 7}.{number}")
        statuses.add(answer.status)
    assert statuses == {400, 429}
    assert desk.vault.status() == before
    for share in desk.shares[:2]:
        answer = await desk.give(share, client="10.0.0.0")
    assert fields(answer)["sealed"] is False
    assert len(desk.audit.entries) < 110, "what goes beyond is summed"


async def test_own_one_operator_fills_the_log_with_his_share() -> None:
    """One dishonest operator hands his good share in a thousand times, and takes it back as often.
    If each of that were an entry, he would fill the disk, and without a log nobody can open."""
    desk = await SealDesk().started()
    for _ in range(500):
        assert (await desk.give(desk.shares[0])).status == 200
        withdrawn = await desk.ask("POST", "unseal", {"share": desk.shares[0], "withdraw": True})
        assert withdrawn.status in (200, 429)
        again = await desk.ask("POST", "unseal", {"share": desk.shares[0], "withdraw": True})
        assert again.status in (200, 429)
    assert len(desk.audit.entries) < 300
    for share in desk.shares[1:]:
        answer = await desk.give(share)
    assert fields(answer)["sealed"] is False


async def test_own_what_cannot_be_written_down_is_not_done(desk: Desk) -> None:
    """The disk of the log is full, perhaps because somebody filled it. An administrator who would
    rather not be seen deletes an owner, grants himself others, brings deleted keys back, and takes
    a token away. Each is refused, and nothing of it has happened."""
    token = await desk.token("svc:a")
    key = fields_of(await desk.ask("POST", service_path("s", "/current"), token=token))
    identity = pyrage.x25519.Identity.generate()
    recipients = {"recipients": [str(identity.to_public())]}
    export = fields_of(await desk.order("POST", owner_path("svc:a", "/export"), recipients))
    grant = {"principal": "svc:b", "owner": "svc:*", "service": "*", "days": 3}
    restored = {
        **{"format": 1, "kind": "owner-export", "owner": "svc:c", "exported_at": 1},
        "keys": [
            {
                **{"service": "s", "id": key["id"], "seq": 1, "key": "11" * 32},
                **{"created_at": 1, "expires_at": 2, "origin": "made"},
            }
        ],
    }
    name = token.split("_")[1]
    desk.audit.is_broken = True
    deletion = f"{owner_path('svc:a')}?export={export['export']}&sha256={export['sha256']}"
    for answer in (
        await desk.order("DELETE", deletion),
        await desk.order("POST", "/v1/admin/grants", grant),
        await desk.order("POST", owner_path("svc:c", "/restore"), restored),
        await desk.order("DELETE", f"/v1/admin/tokens/{name}"),
    ):
        assert code_of(answer) == "AUDIT_UNAVAILABLE"
    desk.audit.is_broken = False
    same = await desk.ask("GET", service_path("s", f"/{key['id']}"), token=token)
    assert fields_of(same)["key"] == key["key"]
    assert not await desk.grants.of_principal("svc:b")
    assert [line.owner for line in await desk.store.owners("", 10)] == ["svc:a"]


async def test_own_strangers_write_to_the_database_of_a_sealed_node() -> None:
    """Every account can sign a request to the operator listener. Those of strangers are refused
    before anything is stored for them: else a flood of them keeps the database busy."""
    desk = await SealDesk(admins=[ADMIN]).started()
    taken: list[Any] = []

    class Nonces:
        async def take(self, address: Any, nonce: bytes, *, now: int, expires_at: int) -> bool:
            taken.append(address)
            return True

    desk.callers._nonces = Nonces()
    for stranger in STRANGERS:
        assert refusal(await desk.ask("POST", "seal", key=stranger)) == (403, "FORBIDDEN")
    assert taken == []
    assert (await desk.ask("GET", "replicas", key=ADMIN)).status == 200
    assert len(taken) == 1


async def test_own_a_database_that_hangs_keeps_the_seal_open() -> None:
    """Somebody holds the database, or the disk of the audit log, so that an administrator's order
    to seal cannot be remembered, nor written down. It is carried out all the same, no other is."""
    desk = await (await SealDesk(admins=[ADMIN]).started()).open()
    desk.nonces.fails = True
    assert refusal(await desk.ask("POST", "rotate", key=ADMIN)) == (503, "STORAGE_UNAVAILABLE")
    assert refusal(await desk.ask("POST", "seal", key=STRANGERS[0])) == (403, "FORBIDDEN")
    assert (await desk.ask("POST", "seal", key=ADMIN)).status == 202
    assert await desk.vault.must_shut() == "requested"


async def test_own_shares_outlive_their_time_while_the_log_is_full() -> None:
    """Shares are wiped after fifteen minutes, whether or not that can be written down; and the
    node goes on to look whether its store was rolled back."""
    desk = await SealDesk().started(threshold=3)
    await desk.give(desk.shares[0])
    desk.audit.fails = True
    desk.clock.advance(15 * 60 + 1)
    with suppress(AuditUnavailableError):  # it may say so, having done its work
        await desk.upkeep.compare()
    machine = desk.vault._machine
    assert machine.collected is not None
    assert machine.collected.held == ()
    assert desk.vault.status().state is SealState.SEALED


async def test_own_a_store_that_went_back_is_opened_by_the_fresh_process() -> None:
    """The database is put back to an earlier state while a node is open. The node seals itself by
    replacing its process; the fresh one knows no later state, and operators' daemons hand it their
    shares at once. It stays shut until somebody starts it, who has looked why."""
    desk = await (await SealDesk().started()).open()
    earlier = desk.store.stored
    await desk.upkeep.rotate(SYSTEM)
    desk.store.stored = earlier
    await desk.upkeep.compare()
    reason = await asyncio.wait_for(desk.vault.must_shut(), 1)
    desk.vault.shut(reason)
    fresh = Vault(desk.store, desk.audit, random=desk.random, clock=desk.clock, reason=reason)
    await fresh.load()
    for share in desk.shares[:2]:
        with pytest.raises(SealedError, match="went back"):
            await fresh.submit(share)
    assert fresh.status().reason == "rollback_detected"


async def test_own_entries_are_lost_with_a_process_that_is_killed(tmp_path: Path) -> None:
    """An answer went out, so its entry is on the disk: a process that dies at any moment leaves
    whole lines of all that was answered, and at most a piece of one that was not."""
    path = tmp_path / "audit.jsonl"
    log = AuditFiles([path], replica_id="r", clock=ManualClock())
    await log.open()
    answered = 0

    async def act() -> None:
        nonlocal answered
        await log.record("seal.rotate", AuditOutcome.OK, SYSTEM, {"term": 1})
        answered += 1

    acting = [asyncio.ensure_future(act()) for _ in range(100)]
    while answered < 20:
        await asyncio.sleep(0)
    known, on_disk = answered, path.read_bytes()
    assert on_disk.count(b"\n") >= known
    await asyncio.gather(*acting)
    await log.close()
    for cut in (0, 1, 150):
        path.write_bytes(on_disk[: len(on_disk) - cut])
        await log.open()
        await log.close()
        assert main(["audit", "verify", str(path)]) == 0


async def test_own_an_entry_is_slipped_in_while_the_node_runs(tmp_path: Path) -> None:
    """Somebody with access to the file appends a line of his own, well made, while the process
    runs. The process overwrites what it has not written itself."""
    path = tmp_path / "audit.jsonl"
    log = AuditFiles([path], replica_id="r", clock=ManualClock())
    await log.open()
    await log.record("seal.rotate", AuditOutcome.OK, SYSTEM, {"term": 1})
    with path.open("ab") as file:
        file.write(b'{"action":"seal.unsealed"}\n')
    assert main(["audit", "verify", str(path)]) == FAILED
    await log.record("seal.rotate", AuditOutcome.OK, SYSTEM, {"term": 2})
    await log.close()
    assert main(["audit", "verify", str(path)]) == 0
    assert b"unsealed" not in path.read_bytes()
