"""What gets into the audit log, and what a reader of it notices."""

import json
from collections.abc import Callable

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.ecdsa import sign_alone
from keyserver.model.identifiers import NodeId
from keyserver.sealing.audit import (
    Entry,
    Event,
    Head,
    checkpoint_event,
    entry_hash,
    next_entry,
)
from keyserver.sealing.audit_details import (
    ACTIONS,
    DETAIL_NAMES,
    Detail,
    check_action,
    check_details,
)
from keyserver.sealing.audit_verification import Verdict, verify
from keyserver.sealing.ports import SYSTEM, Actor, ActorKind, AuditOutcome

KEY, OTHER_KEY = SecretScalar.from_int(7), SecretScalar.from_int(8)
NODE = NodeId.of(KEY.public())


def signer(key: SecretScalar) -> Callable[[bytes], bytes]:
    return lambda digest: sign_alone(key, digest)


def event(action: str = "seal.rotate", **details: Detail) -> Event:
    return Event(action, AuditOutcome.OK, SYSTEM, details, 1_700_000_000_000)


class Log:
    """A log as the writer makes it."""

    def __init__(self) -> None:
        self.head = Head()
        self.lines: list[bytes] = []

    def add(self, what: Event) -> None:
        entry = next_entry(self.head, "r", what)
        self.head = entry.head
        self.lines.append(entry.line)

    def checkpoint(self, key: SecretScalar = KEY) -> None:
        self.add(checkpoint_event(self.head, signer(key), 0))


@pytest.fixture
def log() -> Log:
    made = Log()
    for term in range(3):
        made.add(event(term=term))
    made.checkpoint()
    made.add(event(term=9))
    return made


def changed(line: bytes, **fields: object) -> bytes:
    """A line with other content and the hash that goes with it: a made-up one."""
    content = json.loads(line) | fields
    return Entry(content | {"hash": entry_hash(content).hex()}).line


def found(verdict: Verdict) -> tuple[int | None, str]:
    return verdict.bad_line, str(verdict.reason)


def test_a_whole_log_is_good(log: Log) -> None:
    verdict = verify(log.lines, node_id=NODE, expected_head=log.head.digest)
    assert verdict.is_good
    assert (verdict.head, verdict.checkpoints, verdict.node_id) == (log.head, 1, NODE)
    assert (verdict.unsigned, verdict.last_ts) == (1, 1_700_000_000_000)


def test_an_empty_log_is_good_and_has_nothing() -> None:
    verdict = verify([])
    assert verdict.is_good
    assert (verdict.head, verdict.last_ts, verdict.checkpoints) == (Head(), None, 0)


def test_a_removed_line(log: Log) -> None:
    del log.lines[1]
    assert found(verify(log.lines)) == (2, "it has number 3 where 2 was to follow")


def test_a_removed_line_with_numbers_mended(log: Log) -> None:
    del log.lines[1]
    log.lines[1] = changed(log.lines[1], seq=2)
    assert found(verify(log.lines))[0] == 2
    assert "does not follow" in found(verify(log.lines))[1]


def test_swapped_lines(log: Log) -> None:
    log.lines[1], log.lines[2] = log.lines[2], log.lines[1]
    assert found(verify(log.lines))[0] == 2


def test_an_edited_line(log: Log) -> None:
    log.lines[1] = log.lines[1].replace(b'"term":1', b'"term":7')
    assert found(verify(log.lines)) == (2, "its hash does not fit its content")


def test_an_edited_line_with_its_own_hash(log: Log) -> None:
    log.lines[1] = changed(log.lines[1], ts=1)
    assert found(verify(log.lines))[0] == 3


def test_a_line_appended_with_a_made_up_hash(log: Log) -> None:
    log.lines.append(log.lines[-1].replace(b'"seq":5', b'"seq":6'))
    assert found(verify(log.lines))[0] == 6
    log.lines[-1] = changed(log.lines[-1], seq=6)
    assert "does not follow" in found(verify(log.lines))[1]


def test_the_whole_log_written_anew_needs_the_nodes_key(log: Log) -> None:
    forged = Log()
    forged.add(event(term=1))
    forged.checkpoint(OTHER_KEY)
    assert verify(forged.lines).is_good, "nobody knows whose the log is"
    assert verify(forged.lines).node_id == NodeId.of(OTHER_KEY.public())
    assert found(verify(forged.lines, node_id=NODE))[0] == 2
    # One checkpoint of the node, then one of somebody else.
    log.checkpoint(OTHER_KEY)
    assert found(verify(log.lines))[0] == 6
    assert "signed by node" in found(verify(log.lines))[1]


def test_a_checkpoint_of_another_entry_is_found(log: Log) -> None:
    details = json.loads(log.lines[3])["details"]
    log.add(Event("audit.checkpoint", AuditOutcome.OK, SYSTEM, details, 0))
    assert "another entry" in found(verify(log.lines))[1]


@pytest.mark.parametrize("signature", [None, 5, "", "zz", "00" * 65, "11" * 65])
def test_a_checkpoint_needs_a_signature(log: Log, signature: object) -> None:
    details = json.loads(log.lines[3])["details"] | {"signature": signature}
    log.lines[3] = changed(log.lines[3], details=details)
    assert found(verify(log.lines))[0] == 4
    assert "without a valid signature" in found(verify(log.lines))[1]


def test_a_checkpoint_names_who_signed_it(log: Log) -> None:
    details = json.loads(log.lines[3])["details"] | {"node_id": "ab" * 64}
    log.lines[3] = changed(log.lines[3], details=details)
    assert "names another node" in found(verify(log.lines))[1]


def test_lines_cut_off_at_the_end_show_only_by_a_later_entry_known_from_elsewhere(log: Log) -> None:
    cut = log.lines[:-1]
    assert verify(cut).is_good, "a chain does not know how long it was"
    verdict = verify(cut, expected_head=log.head.digest)
    assert not verdict.is_good
    assert verdict.bad_line is None
    assert "cut off" in str(verdict.reason)


def test_a_torn_line_is_named(log: Log) -> None:
    log.lines[-1] = log.lines[-1][:-1]
    assert "incomplete" in found(verify(log.lines))[1]


NO_ENTRIES = {
    "nothing": b"\n",
    "text": b"hello\n",
    "a number": b"1\n",
    "deep": b"[" * 100_000 + b"\n",
    "no fields": b"{}\n",
}


@pytest.mark.parametrize("line", NO_ENTRIES.values(), ids=NO_ENTRIES)
def test_lines_that_are_no_entries(line: bytes) -> None:
    assert found(verify([line]))[0] == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"v": 2},
        {"v": True},
        {"seq": -1},
        {"seq": 1.0},
        {"ts": "now"},
        {"replica": None},
        {"prev": "AB" * 32},
        {"outcome": "fine"},
        {"actor": "system"},
        {"actor": {"kind": "god", "id": None}},
        {"actor": {"kind": "system", "id": 5}},
        {"details": []},
        {"details": {"term": 1.5}},
        {"details": {"term": 1 << 60}},
        {"details": {"ä": 1}},
        {"details": {"owner": "\ud800"}},
    ],
)
def test_entries_of_another_form(log: Log, fields: dict[str, object]) -> None:
    content = json.loads(log.lines[0]) | fields
    line = json.dumps(content, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert found(verify([line]))[0] == 1


def test_entries_in_another_spelling(log: Log) -> None:
    spaced = log.lines[0].replace(b'"v":1', b'"v": 1')
    assert "not written as" in found(verify([spaced]))[1]


def test_all_actions_are_known() -> None:
    specified = {
        *("seal.init", "seal.unseal.share", "seal.unsealed", "seal.sealed", "seal.share.expired"),
        *("seal.share.withdrawn", "seal.shares.cleared", "seal.rekey.started", "seal.rotate"),
        *("seal.rewrap", "seal.retire", "seal.slot.removed", "seal.handover"),
        *("keys.create", "keys.get", "keys.rotate", "keys.encrypt", "keys.decrypt"),
        *("keys.owner.export", "keys.owner.delete", "keys.owner.restore", "auth.denied"),
        *("token.created", "delegation.used", "grant.created", "backup.created"),
        *("audit.checkpoint", "audit.torn"),
    }
    for action in specified:
        check_action(action)
    assert specified >= ACTIONS, "every action of the code is specified"


@pytest.mark.parametrize(
    "action", ["", "seal", "seal.rekey", "seal.rekey.", "seal.rekey.a.b", "keys.steal", "token.A"]
)
def test_no_other_action_gets_in(action: str) -> None:
    with pytest.raises(ValueError, match="no action of this name"):
        event(action)


SECRETS: dict[str, Detail] = {
    "share": "academic acid acrobat",
    "mnemonic": "academic acid acrobat",
    "key": "11" * 32,
    "private_key": "11" * 32,
    "secret": "x",
    "signature": "11" * 65,
    "authorization": "Keyserver-Eth ts=1",
    "body": "{}",
    "passphrase": "x",
    "kst1_abcdefghijklmnop_x": 1,
}


@pytest.mark.parametrize("name", SECRETS)
def test_no_detail_outside_the_list_gets_in(name: str) -> None:
    assert name not in DETAIL_NAMES
    with pytest.raises(ValueError, match="not on the list") as problem:
        Event("seal.rotate", AuditOutcome.OK, SYSTEM, {name: SECRETS[name]}, 0)
    assert name not in str(problem.value)


KEY_HEX, TOKEN = "5a" * 32, "kst1_abcdefghijklmnop_" + "A" * 43
MNEMONIC = "duckling enlarge academic academic agency result length solution fridge kidney coal"


@pytest.mark.parametrize("secret", [KEY_HEX, TOKEN, MNEMONIC, "11" * 65, f"0x{KEY_HEX}"])
@pytest.mark.parametrize("name", sorted(DETAIL_NAMES))
def test_a_secret_fits_under_no_name_but_those_that_people_choose(name: str, secret: str) -> None:
    chosen = {"owner", "service", "services", "principal", "owner_pattern", "service_pattern"}
    if name in chosen or (name == "export_sha256" and secret == KEY_HEX):
        check_details({name: secret})
        return
    with pytest.raises(ValueError, match=name) as problem:
        check_details({name: secret})
    assert secret not in str(problem.value)


@pytest.mark.parametrize(
    "details",
    [
        {"term": "1"},
        {"term": True},
        {"term": -1},
        {"term": 1 << 53},
        {"verified": 1},
        {"owner": ""},
        {"owner": "ü" * 151},
        {"owner": "\ud800"},
        {"owner": 5},
        {"code": "lower"},
        {"route": "/v1/keys?x=1"},
    ],
)
def test_details_have_their_form(details: dict[str, Detail]) -> None:
    with pytest.raises(ValueError, match="another form"):
        check_details(details)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ActorKind.ETH, "0x" + "ab" * 20),
        (ActorKind.TOKEN, "abcdefghij234567"),
        (ActorKind.TOKEN, None),
        (ActorKind.SYSTEM, None),
    ],
)
def test_actors_have_the_name_of_their_kind(kind: ActorKind, name: str | None) -> None:
    Event("keys.get", AuditOutcome.OK, Actor(kind, name), {}, 0)


@pytest.mark.parametrize("kind", ActorKind)
@pytest.mark.parametrize("name", ["", KEY_HEX, TOKEN, MNEMONIC, f"0x{KEY_HEX}"])
def test_a_secret_is_no_name_of_an_actor(kind: ActorKind, name: str) -> None:
    with pytest.raises(ValueError, match="has no such name") as problem:
        Event("keys.get", AuditOutcome.OK, Actor(kind, name), {}, 0)
    assert not name or name not in str(problem.value)


def test_details_in_their_form() -> None:
    check_details(
        {
            "owner": "ü" * 150,
            "service": 'größe "x"\n',
            "code": "SHARE_UNKNOWN",
            "scopes": "keys:use, keys:data",
            "route": "/v1/seal/rekey/{id}",
            "key_id": "35e53e27-3d91-4524-8c40-80566546f536",
            "address": "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf",
            "term": 0,
            "verified": False,
            "reason": None,
        }
    )
