"""Entries and checkpoint of the audit log, byte for byte (sealing, C14)."""

from typing import Any

import pytest

from keyserver.crypto.curve import recover
from keyserver.model.identifiers import NodeId
from keyserver.sealing.audit import (
    Event,
    Head,
    check_follows,
    checkpoint_digest,
    checkpoint_event,
    next_entry,
    parse_line,
)
from keyserver.sealing.ports import Actor, ActorKind, AuditOutcome
from tests.vectors.files import load, raw

AUDIT = load("sealing")["audit_v1"]
ENTRIES = [vector["entry"] for vector in AUDIT["entries"]]
LINES = [vector["line"].encode() for vector in AUDIT["entries"]]


def before(number: int) -> Head:
    entry = ENTRIES[number]
    return Head(entry["seq"] - 1, raw(entry["prev"]))


@pytest.mark.parametrize("number", range(len(ENTRIES)))
def test_entries_are_written_byte_for_byte(number: int) -> None:
    entry: Any = ENTRIES[number]
    actor = Actor(ActorKind(entry["actor"]["kind"]), entry["actor"]["id"])
    outcome = AuditOutcome(entry["outcome"])
    event = Event(entry["action"], outcome, actor, entry["details"], entry["ts"])
    made = next_entry(before(number), entry["replica"], event)
    assert made.line == LINES[number] + b"\n"


@pytest.mark.parametrize("number", range(len(ENTRIES)))
def test_entries_are_read(number: int) -> None:
    read = parse_line(LINES[number])
    check_follows(before(number), read)
    assert read.fields == ENTRIES[number]
    assert read.head == Head(ENTRIES[number]["seq"], raw(ENTRIES[number]["hash"]))


def test_the_first_follows_nothing() -> None:
    assert Head().digest.hex() == AUDIT["genesis_prev"]


def test_a_checkpoint_is_the_nodes_signature_of_the_head() -> None:
    vector = AUDIT["checkpoint"]
    head = Head(vector["seq"], raw(vector["head"]))
    digest = checkpoint_digest(head)
    assert digest.hex() == vector["message_hash"]
    assert NodeId.of(recover(digest, raw(vector["signature"]))).hex() == vector["node_id"]
    event = checkpoint_event(head, lambda _: raw(vector["signature"]), ts=0)
    assert event.details == {name: vector[name] for name in ("seq", "head", "node_id", "signature")}
