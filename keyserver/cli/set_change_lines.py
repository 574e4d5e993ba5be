"""What a node tells of changes of its node set, as people read it."""

from collections.abc import Mapping, Sequence
from typing import Any

from keyserver.cli.output import time_text

Facts = Mapping[str, Any]  # Any: JSON, as the node sends it
Row = dict[str, object]

ENDED = ("done", "failed")
"""Phases in which a change does not go on."""

KEYS_MOVED = ("migrating", "confirming")
"""Phases on chain to which a change of the keys that has ended may belong."""

SHORT = 10
"""Characters of an identifier that are shown."""


def change_lines(facts: Facts) -> Row:
    """What an administrator wants to know."""
    lines: Row = {"change": _standing(facts)}
    told = _told(facts)
    if told is not None:
        lines |= {
            "id": told["change_id"],
            "keys": keys_text(told),
            "not taking part": short_ids(told["missing"]),
        }
    running = facts["takes_part"]
    if running is not None:
        lines["clients wait"] = running["exclusive"]
        lines["from"] = short_ids(running["old_set"])
        lines["to"] = short_ids(running["new_set"])
    return lines | _history(facts)


def migration_lines(facts: Facts) -> Row:
    """What the node set contract asks for, and how far that is; empty without a contract."""
    migration = facts["migration"]
    if migration is None:
        return {}
    lines: Row = {
        "phase": migration["phase"] + (" (the chain cannot be asked)" * migration["stale"]),
        "refused" if migration["refused"] else "now": migration["why"],
        "block": migration["block"],
    }
    if migration["phase"] != "idle":
        lines |= _of_a_change(facts, migration)
    return lines | _history(facts)


def _of_a_change(facts: Facts, migration: Facts) -> Row:
    lines: Row = {
        "migration": migration["id"],
        "led by": migration["master"],
        "from": short_ids(migration["current_set"]),
        "to": short_ids(migration["target_set"]),
        "keys": _counted(facts, migration) or "the node that leads counts them",
        "moving, here": _session(migration),
    }
    for name, who in (
        ("not connected", "missing"),
        ("confirmed", "confirmed"),
        ("not confirmed", "unconfirmed"),
    ):
        if migration[who]:
            lines[name] = short_ids(migration[who])
    for name, method in (("start", "startMigration"), ("confirm", "confirmMigration")):
        if migration[name] is not None:
            lines[method] = f"{migration[name]['state']}, block {migration[name]['block']}"
    return lines


def _counted(facts: Facts, migration: Facts) -> str:
    """What this node counts of the change on chain, not of one before it."""
    told = _told(facts)
    if told is None or (told["phase"] in ENDED and migration["phase"] not in KEYS_MOVED):
        return ""
    return keys_text(told)


def kept_rows(facts: Facts) -> Sequence[Row]:
    """Keys that do not move, and those because of which nothing does."""
    told, migration = _told(facts), facts["migration"]
    kept = [] if told is None else told["kept"]
    rows: list[Row] = [
        {"key": each["key_id"], "why it does not move": each["why"]} for each in kept
    ]
    if migration is not None:
        why = "it would be left with fewer than t + 1 holders"
        rows += [{"key": key_id, "why it does not move": why} for key_id in migration["at_risk"]]
    return rows


def standing(facts: Facts) -> str:
    """A change of the set in one line: on chain, by order of an administrator, or none."""
    migration = facts["migration"]
    if migration is None or migration["phase"] == "idle":
        return _standing(facts)
    counted = _counted(facts, migration)
    return f"{migration['phase']}: {migration['why']}" + (f"; {counted}" if counted else "")


def progress_line(told: Facts) -> str:
    """One line about a change that goes on."""
    missing = f", without {short_ids(told['missing'])}" if told["missing"] else ""
    return f"{told['phase']}: {keys_text(told)}{missing}"


def keys_text(told: Facts) -> str:
    """How many keys have moved."""
    kept = f", {told['keys_kept']} do not move" if told["keys_kept"] else ""
    return f"{told['keys_moved']} of {told['keys_total']} moved{kept}"


def short_ids(ids: Sequence[str]) -> str:
    """Identifiers one can tell apart."""
    return ", ".join(f"{each[:SHORT]}…" for each in ids) or "-"


def _told(facts: Facts) -> Facts | None:
    """What this node counts, unless it takes part in a change that another one coordinates."""
    told: Facts | None = facts["coordinated"]
    running = facts["takes_part"]
    if told is None or running is None or running["change_id"] == told["change_id"]:
        return told
    return told if told["phase"] not in ENDED else None


def _standing(facts: Facts) -> str:
    told, running = _told(facts), facts["takes_part"]
    if told is not None:
        return f"{told['phase']}: {told['why']}" if told["why"] else str(told["phase"])
    return "none goes on" if running is None else "goes on; another node leads and counts the keys"


def _history(facts: Facts) -> Row:
    latest = facts["completed"]
    if latest is None:
        return {"completed": "none", "next epoch": facts["next_epoch"]}
    return {
        "completed": f"{latest['epoch']}, the last one at {time_text(latest['completed_at'])}",
        "next epoch": facts["next_epoch"],
    }


def _session(migration: Facts) -> str:
    failure = migration["session_failure"]
    return f"{migration['session']}: {failure}" if failure else str(migration["session"])
