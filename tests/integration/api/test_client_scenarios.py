"""What client programs see of nodes whose operators do not serve everything.

What they see of ordinary nodes is tested in `tests/e2e/clients`, in this process too.
"""

from keyserver.sessions.core import Policy, Verdict
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


async def test_a_permission_that_is_not_confirmed_yet(rpc: Rpc) -> None:
    """Section 11: until then it is a matter of time, and said so; a chain that is gone is not."""
    async with client_network(3, seed=12) as network:
        acting, key_id = Client(rpc, network.addresses, REQUESTS), fresh_id()
        await acting.publish(ALICE, key_id, b"x", 1)
        signature = await acting.sign(ALICE, key_id)

        async def answers() -> set[tuple[int, bytes]]:
            paths = (f"/shadow/{key_id}/{signature}", f"/{key_id}/{signature}")
            asked = [await acting.http("GET", path) for path in paths for _ in network.nodes]
            return {
                (answer.status, answer.body if answer.status != 200 else b"") for answer in asked
            }

        def say(verdict: Verdict) -> None:
            for each in network.nodes:
                each.node.access.verdict = lambda *_: verdict

        say(Verdict.UNAVAILABLE)
        assert await answers() == {(403, error("Consensus temporary unreachable"))}
        say(Verdict.DENIED)
        assert await answers() == {(403, error("Consensus unreachable"))}
        for each in network.nodes:
            each.state.chain_is_silent = True
        say(Verdict.UNAVAILABLE)
        ((status, body),) = await answers()
        assert status == 500
        assert body.startswith(b'"\\"Internal error: ')
        say(Verdict.ALLOWED)
        assert await answers() == {(200, b"")}
