"""The service contracts this node knows: the only place that lists them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from keyserver.services.base import HandlerTools, ServiceContract
from keyserver.services.document_key_retrieval.bindings import DocumentKeyRetrieval
from keyserver.services.document_key_retrieval.handler import CommonHandler, PersonalHandler
from keyserver.services.document_key_store.bindings import DocumentKeyStore
from keyserver.services.document_key_store.handler import StoreHandler
from keyserver.services.fees import CollectHandler
from keyserver.services.message_signing import handler as signing
from keyserver.services.message_signing.bindings import ECDSA, SCHNORR, MessageSigning
from keyserver.services.server_key_generation.bindings import ServerKeyGeneration
from keyserver.services.server_key_generation.handler import GenerationHandler
from keyserver.services.server_key_retrieval.bindings import ServerKeyRetrieval
from keyserver.services.server_key_retrieval.handler import RetrievalHandler
from keyserver.tasks.model import TaskKind
from keyserver.tasks.ports import TaskHandler

HandlerFactory = Callable[[HandlerTools, ServiceContract], TaskHandler]


@dataclass(frozen=True)
class Service:
    """A contract and what is done about its requests."""

    contract: ServiceContract
    handlers: Mapping[TaskKind, HandlerFactory]


def _signing(contract: MessageSigning) -> Service:
    common, personal = contract.kinds
    return Service(
        contract,
        {
            common: lambda tools, _: signing.CommonHandler(tools, contract),
            personal: lambda tools, _: signing.PersonalHandler(tools, contract),
        },
    )


SERVICES: Final[tuple[Service, ...]] = (
    Service(ServerKeyGeneration(), {TaskKind.GENERATE_SERVER_KEY: GenerationHandler}),
    Service(ServerKeyRetrieval(), {TaskKind.RETRIEVE_SERVER_KEY: RetrievalHandler}),
    Service(DocumentKeyStore(), {TaskKind.STORE_DOCUMENT_KEY: StoreHandler}),
    Service(
        DocumentKeyRetrieval(),
        {
            TaskKind.RETRIEVE_COMMON: CommonHandler,
            TaskKind.RETRIEVE_PERSONAL: PersonalHandler,
        },
    ),
    _signing(ECDSA),
    _signing(SCHNORR),
)
"""In the order in which their pending lists are read."""

CONTRACTS: Final[tuple[ServiceContract, ...]] = tuple(service.contract for service in SERVICES)
"""The contracts alone."""

COMBINED: Final[tuple[ServiceContract, ...]] = tuple(each for each in CONTRACTS if each.in_combined)
"""What a combined contract serves at its one address."""

CONTRACT_OF: Final[Mapping[TaskKind, ServiceContract]] = {
    kind: contract for contract in CONTRACTS for kind in contract.kinds
}
"""Which contract a kind of task comes from."""


def handlers(
    tools: HandlerTools, *, drain_above: int | None = None
) -> Mapping[TaskKind, TaskHandler]:
    """A handler for every kind of task; `drain_above`: wei, `None` never collects fees."""
    return {
        kind: factory(tools, service.contract)
        for service in SERVICES
        for kind, factory in service.handlers.items()
    } | {TaskKind.COLLECT_FEES: CollectHandler(tools, drain_above)}
