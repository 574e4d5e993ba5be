"""What client programs see of nodes whose operators do not serve everything.

What they see of ordinary nodes is tested in `tests/e2e/clients`, in this process too.
"""

from keyserver.sessions.core import Policy
from tests.integration.api.conftest import ALICE, fresh_id
from tests.support.client_node import client_network
from tests.support.raw_http import ask
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import REQUESTS, Client, error


async def test_strict_nodes(rpc: Rpc) -> None:
    """What one's own node refuses says so; what only others refuse is unreachable."""
    strict = Policy(forbid_plain_modes=True)
    async with client_network(3, seed=11, policy=Policy()) as network:
        acting, key_id = Client(rpc, network.addresses, REQUESTS), fresh_id()
        await acting.publish(ALICE, key_id, b"x", 1)
        network[0].node.policy = network[1].node.policy = strict
        signature = await acting.sign(ALICE, key_id)
        own = await ask(network[0].address, "GET", f"/{key_id}/{signature}")
        assert own.status == 403
        assert own.text.startswith('"\\"Operation is disabled: retrieve_plain ([keyserver] forbid')
        others = await ask(network[2].address, "GET", f"/{key_id}/{signature}")
        assert (others.status, others.body) == (403, error("Consensus unreachable"))
        fresh = fresh_id()
        path = f"/{fresh}/{await acting.sign(ALICE, fresh)}/1"
        others = await ask(network[2].address, "POST", path)
        assert (others.status, others.body) == (403, error("Consensus unreachable"))
