"""Who may use which key: lists of users per document, each kept by an admin."""

from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from keyserver.model.identifiers import Address
from keyserver.simulation.contracts.contract import (
    EmittedLog,
    Message,
    RevertError,
    abi_of,
    dispatch,
    emitted,
    entry_points,
)

ARTIFACT: Final = "PermissioningRegistry"


@dataclass(frozen=True, slots=True)
class Document:
    """The users of one document."""

    admin: Address | None = None
    exposed: bool = False
    """Open to everybody."""
    users: tuple[Address, ...] = ()


@dataclass
class PermissionsContract:
    """The contract's state."""

    owner: Address
    documents: dict[bytes, Document] = field(default_factory=dict)
    _logs: list[EmittedLog] = field(default_factory=list)

    def clone(self) -> Self:
        """An independent copy."""
        return replace(self, documents=dict(self.documents), _logs=[])

    def run(self, message: Message) -> tuple[bytes, list[EmittedLog]]:
        """Carry out a call."""
        return dispatch(_ENTRIES, self, message), self._logs

    def enter(self, message: Message, arguments: Any) -> tuple[bool]:
        """`permission`: enters a document, or replaces its users; an existing admin stays."""
        document, users = arguments
        known = self.documents.get(document, Document())
        if known.admin is None:
            known = Document(message.sender)
        elif message.sender not in (known.admin, self.owner):
            raise RevertError("NotAdmin")
        return self._replace_users(document, known, users)

    def set_users(self, message: Message, arguments: Any) -> tuple[bool]:
        """`setUsers`."""
        document, users = arguments
        return self._replace_users(document, self._administered(message, document), users)

    def add_user(self, message: Message, arguments: Any) -> tuple[bool]:
        """`addUser`."""
        document, user = arguments
        known = self._administered(message, document)
        if user in known.users:
            raise RevertError("DuplicateUser")
        return self._write(document, replace(known, users=(*known.users, user)))

    def set_exposed(self, message: Message, arguments: Any) -> tuple[bool]:
        """`setExposed`."""
        document, exposed = arguments
        return self._write(
            document, replace(self._administered(message, document), exposed=exposed)
        )

    def remove(self, message: Message, arguments: Any) -> tuple[bool]:
        """`removePermission`: nobody may use it, and whoever enters it next is its admin."""
        (document,) = arguments
        self._administered(message, document)
        return self._write(document, Document())

    def check(self, _: Message, arguments: Any) -> tuple[bool]:
        """`checkPermissions`."""
        user, document = arguments
        known = self.documents.get(document, Document())
        if known.admin is None:
            return (False,)
        return (known.exposed or user in known.users,)

    def _administered(self, message: Message, document: bytes) -> Document:
        known = self.documents.get(document, Document())
        if message.sender not in (known.admin, self.owner):
            raise RevertError("NotAdmin")
        return known

    def _replace_users(
        self, document: bytes, known: Document, users: tuple[Address, ...]
    ) -> tuple[bool]:
        if len(set(users)) < len(users):
            raise RevertError("DuplicateUser")
        return self._write(document, replace(known, users=users))

    def _write(self, document: bytes, after: Document) -> tuple[bool]:
        self.documents[document] = after
        self._logs.append(emitted(abi_of(ARTIFACT).event("Permission"), document))
        return (True,)


_ENTRIES: Final = entry_points(
    ARTIFACT,
    {
        "permission": PermissionsContract.enter,
        "setUsers": PermissionsContract.set_users,
        "addUser": PermissionsContract.add_user,
        "setExposed": PermissionsContract.set_exposed,
        "removePermission": PermissionsContract.remove,
        "checkPermissions": PermissionsContract.check,
        "owner": lambda c, m, a: (c.owner,),
    },
)
