"""All four services in one contract, with one balance per key server."""

from typing import Final, Self

from keyserver.model.identifiers import Address
from keyserver.simulation.contracts.base import BASE_METHODS
from keyserver.simulation.contracts.contract import EmittedLog, Message, dispatch, entry_points
from keyserver.simulation.contracts.keys import Generation, Storing
from keyserver.simulation.contracts.publics import PublicRetrieval
from keyserver.simulation.contracts.queue import ARTIFACT, ServiceState
from keyserver.simulation.contracts.shadows import ShadowRetrieval


class ServiceContract:
    """The contract's state and functions."""

    def __init__(
        self,
        state: ServiceState,
        generation: Generation | None = None,
        publics: PublicRetrieval | None = None,
        storing: Storing | None = None,
        shadows: ShadowRetrieval | None = None,
    ) -> None:
        self.state = state
        self.generation = generation or Generation(state)
        self.publics = publics or PublicRetrieval(state)
        self.storing = storing or Storing(state)
        self.shadows = shadows or ShadowRetrieval(state)

    def clone(self) -> Self:
        """An independent copy."""
        state = self.state.clone()
        return type(self)(
            state,
            Generation(state, self.generation.queue.clone()),
            PublicRetrieval(state, self.publics.queue.clone()),
            Storing(state, self.storing.queue.clone()),
            ShadowRetrieval(state, self.shadows.queue.clone()),
        )

    def run(self, message: Message) -> tuple[bytes, list[EmittedLog]]:
        """Carry out a call."""
        return dispatch(_ENTRIES, self, message), self.state.logs


def new_service(owner: Address, node_set: Address) -> ServiceContract:
    """The contract as its constructor leaves it."""
    return ServiceContract(ServiceState(owner, node_set))


_ENTRIES: Final = entry_points(
    ARTIFACT,
    {
        "generateServerKey": lambda c, m, a: c.generation.request(m, a),
        "serverKeyGenerated": lambda c, m, a: c.generation.generated(m, a),
        "serverKeyGenerationError": lambda c, m, a: c.generation.error(m, a),
        "serverKeyGenerationRequestsCount": lambda c, m, a: (len(c.generation.queue.order),),
        "getServerKeyGenerationRequest": lambda c, m, a: c.generation.item(m, a),
        "isServerKeyGenerationResponseRequired": lambda c, m, a: c.generation.required(m, a),
        "expireServerKeyGenerationRequest": lambda c, m, a: c.generation.expire(m, a),
        "serverKeyGenerationFee": lambda c, m, a: (c.generation.queue.fee,),
        "retrieveServerKey": lambda c, m, a: c.publics.request(m, a),
        "serverKeyRetrieved": lambda c, m, a: c.publics.retrieved(m, a),
        "serverKeyRetrievalError": lambda c, m, a: c.publics.error(m, a),
        "serverKeyRetrievalRequestsCount": lambda c, m, a: (len(c.publics.queue.order),),
        "getServerKeyRetrievalRequest": lambda c, m, a: c.publics.item(m, a),
        "isServerKeyRetrievalResponseRequired": lambda c, m, a: c.publics.required(m, a),
        "expireServerKeyRetrievalRequest": lambda c, m, a: c.publics.expire(m, a),
        "serverKeyRetrievalFee": lambda c, m, a: (c.publics.queue.fee,),
        "storeDocumentKey": lambda c, m, a: c.storing.request(m, a),
        "documentKeyStored": lambda c, m, a: c.storing.stored(m, a),
        "documentKeyStoreError": lambda c, m, a: c.storing.error(m, a),
        "documentKeyStoreRequestsCount": lambda c, m, a: (len(c.storing.queue.order),),
        "getDocumentKeyStoreRequest": lambda c, m, a: c.storing.item(m, a),
        "isDocumentKeyStoreResponseRequired": lambda c, m, a: c.storing.required(m, a),
        "expireDocumentKeyStoreRequest": lambda c, m, a: c.storing.expire(m, a),
        "documentKeyStoreFee": lambda c, m, a: (c.storing.queue.fee,),
        "retrieveDocumentKeyShadow": lambda c, m, a: c.shadows.request(m, a),
        "documentKeyCommonRetrieved": lambda c, m, a: c.shadows.common(m, a),
        "documentKeyPersonalRetrieved": lambda c, m, a: c.shadows.personal(m, a),
        "documentKeyShadowRetrievalError": lambda c, m, a: c.shadows.error(m, a),
        "documentKeyShadowRetrievalRequestsCount": lambda c, m, a: (len(c.shadows.queue.order),),
        "getDocumentKeyShadowRetrievalRequest": lambda c, m, a: c.shadows.item(m, a),
        "isDocumentKeyShadowRetrievalResponseRequired": lambda c, m, a: c.shadows.required(m, a),
        "expireDocumentKeyShadowRetrievalRequest": lambda c, m, a: c.shadows.expire(m, a),
        "documentKeyShadowRetrievalFee": lambda c, m, a: (c.shadows.queue.fee,),
        **BASE_METHODS,
    },
    payable=frozenset(
        {
            "generateServerKey",
            "retrieveServerKey",
            "storeDocumentKey",
            "retrieveDocumentKeyShadow",
        }
    ),
)
