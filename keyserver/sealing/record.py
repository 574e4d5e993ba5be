"""The seal record: everything needed to open the store but a key (sealing, C4.4)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keyserver.crypto.boxes import open_box, seal_box, slot_key, wrapped_root_context
from keyserver.crypto.errors import BoxError, BoxTagError
from keyserver.crypto.randomness import RandomSource
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import SealRecordDamagedError, WrongKeyError
from keyserver.sealing.json_text import read_json
from keyserver.sealing.secret_key import SecretKey

RECORD_FORMAT = 1
SEAL_ID_SIZE = 16

Json = Any  # whatever JSON there is; every field is checked when it is read


@dataclass(frozen=True, slots=True)
class Slot:
    """One way to open the store: a wrapped copy of the root key."""

    slot_id: int
    kind: str
    created_at: int
    """Milliseconds since 1970."""
    params: Mapping[str, Json]
    wrapped_root: bytes = field(default=b"", repr=False)

    def to_json(self) -> dict[str, Json]:
        """The slot as the record shows it."""
        return {
            "slot_id": self.slot_id,
            "kind": self.kind,
            "created_at": self.created_at,
            "params": dict(self.params),
            "wrapped_root": self.wrapped_root.hex(),
        }


@dataclass(frozen=True, slots=True)
class SealRecord:
    """Which store this is, whose, and the slots that open it."""

    seal_id: bytes
    """16 bytes, constant for the life of the store."""
    node_id: NodeId
    epoch: int
    slots: tuple[Slot, ...]
    history: tuple[Mapping[str, Json], ...] = ()
    """Earlier epochs, outside every context."""

    def to_json(self) -> str:
        """The record as text."""
        return json.dumps(
            {
                "format": RECORD_FORMAT,
                "seal_id": self.seal_id.hex(),
                "node_id": self.node_id.hex(),
                "epoch": self.epoch,
                "slots": [slot.to_json() for slot in self.slots],
                "history": [dict(entry) for entry in self.history],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "SealRecord":
        """Read a record; raises `SealRecordDamagedError` naming the field that is wrong."""
        try:
            data = read_json(text)
        except ValueError as problem:
            raise SealRecordDamagedError("seal record: not JSON") from problem
        if not isinstance(data, dict):
            raise SealRecordDamagedError("seal record: not a JSON object")
        if data.get("format") != RECORD_FORMAT:
            raise SealRecordDamagedError(
                f"seal record: format {data.get('format')!r} is not known, only {RECORD_FORMAT}"
            )
        slots = _list(data, "slots")
        history = _list(data, "history") if "history" in data else []
        if not all(isinstance(entry, dict) for entry in history):
            raise SealRecordDamagedError("seal record: history must be a list of objects")
        return cls(
            seal_id=_hex(data, "seal_id", SEAL_ID_SIZE),
            node_id=NodeId(_hex(data, "node_id", NodeId.SIZE)),
            epoch=_number(data, "epoch"),
            slots=tuple(_slot(entry) for entry in slots),
            history=tuple(history),
        )

    def public(self) -> dict[str, Json]:
        """The record without the wrapped keys: for everybody to see."""
        shown: dict[str, Json] = json.loads(self.to_json())
        for slot in shown["slots"]:
            del slot["wrapped_root"]
        return shown

    @classmethod
    def from_public(cls, shown: Mapping[str, Json]) -> "SealRecord":
        """Read what `public` gives, to check shares against; raises `SealRecordDamagedError`."""
        slots = shown.get("slots")
        if not isinstance(slots, list) or not all(isinstance(slot, dict) for slot in slots):
            raise SealRecordDamagedError("seal record: slots must be a list of objects")
        unopenable = [{**slot, "wrapped_root": ""} for slot in slots]
        return cls.from_json(json.dumps({**shown, "slots": unopenable}))

    def wrap_root(
        self, slot: Slot, own_key: SecretKey, root: SecretKey, rng: RandomSource
    ) -> bytes:
        """The root key in the box of a slot of this record."""
        key = slot_key(self.seal_id, slot.kind, self.epoch, slot.slot_id, own_key.expose())
        return seal_box(key, root.expose(), self._context(slot), rng)

    def unwrap_root(self, slot: Slot, own_key: SecretKey) -> SecretKey:
        """The root key, opened with the slot's own key.

        Raises `WrongKeyError` if the box does not open, `SealRecordDamagedError` if it is no box.
        """
        key = slot_key(self.seal_id, slot.kind, self.epoch, slot.slot_id, own_key.expose())
        try:
            return SecretKey(open_box({0: key}, slot.wrapped_root, self._context(slot)))
        except BoxTagError as problem:
            raise WrongKeyError(
                f"seal: the key does not open slot {slot.slot_id} ({slot.kind}); it is another "
                "key, or the seal record was changed"
            ) from problem
        except (BoxError, ValueError) as problem:
            raise SealRecordDamagedError(
                f"seal record: slot {slot.slot_id}, wrapped_root: {problem}"
            ) from problem

    def _context(self, slot: Slot) -> bytes:
        return wrapped_root_context(
            slot.to_json(),
            record_format=RECORD_FORMAT,
            seal_id=self.seal_id,
            node_id=self.node_id,
            epoch=self.epoch,
        )


def _slot(entry: Json) -> Slot:
    if not isinstance(entry, dict):
        raise SealRecordDamagedError("seal record: slots must be objects")
    params = entry.get("params")
    if not isinstance(params, dict):
        raise SealRecordDamagedError("seal record: a slot's params must be an object")
    kind = entry.get("kind")
    if not isinstance(kind, str) or not kind.isascii():
        raise SealRecordDamagedError("seal record: a slot's kind must be an ASCII text")
    return Slot(
        slot_id=_number(entry, "slot_id"),
        kind=kind,
        created_at=_number(entry, "created_at"),
        params=params,
        wrapped_root=_hex(entry, "wrapped_root", None),
    )


def _list(data: dict[str, Json], name: str) -> list[Json]:
    value = data.get(name)
    if not isinstance(value, list):
        raise SealRecordDamagedError(f"seal record: {name} must be a list")
    return value


def _number(data: dict[str, Json], name: str) -> int:
    value = data.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise SealRecordDamagedError(f"seal record: {name} must be a natural number")
    return value


def _hex(data: dict[str, Json], name: str, size: int | None) -> bytes:
    value = data.get(name)
    try:
        decoded = bytes.fromhex(value) if isinstance(value, str) else None
    except ValueError:
        decoded = None
    if decoded is None or (size is not None and len(decoded) != size):
        length = "" if size is None else f" of {size} bytes"
        raise SealRecordDamagedError(f"seal record: {name} must be hexadecimal digits{length}")
    return decoded
