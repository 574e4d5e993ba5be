"""Reserving ids and granting permission, on both permission contracts."""

import pytest

from keyserver.client.contracts import Contracts
from keyserver.client.errors import ClientError, RefusedByContractError
from keyserver.client.permissions import ONCE_TRANSFERABLE, REGISTRY, Permissions
from keyserver.client.wallet import Wallet
from keyserver.errors import ConfigError
from tests.integration.client.conftest import World


def of(world: World, account: Wallet) -> Permissions:
    return Permissions(world.ethereum, world.contracts, account)


async def test_the_registry_keeps_a_list(world: World) -> None:
    key_id, alice = world.new_key_id(), of(world, world.alice)
    assert alice.kind == REGISTRY
    assert await alice.admin(key_id) is None
    await alice.reserve(key_id)
    assert await alice.admin(key_id) == world.alice.address
    receipts = await alice.permit(key_id, [world.bob.address])
    assert len(receipts) == 1
    assert await alice.users(key_id) == [world.alice.address, world.bob.address]
    assert await alice.allows(world.bob.address, key_id)
    assert not await alice.allows(world.charlie.address, key_id)
    with pytest.raises(RefusedByContractError, match="NotAdmin"):
        await of(world, world.charlie).reserve(key_id)
    with pytest.raises(RefusedByContractError, match="DuplicateUser"):
        await alice.permit(key_id, [world.bob.address])


@pytest.mark.parametrize("world", [ONCE_TRANSFERABLE], indirect=True)
async def test_the_other_contract_passes_an_id_on_once(world: World) -> None:
    key_id, alice = world.new_key_id(), of(world, world.alice)
    assert alice.kind == ONCE_TRANSFERABLE
    await alice.reserve(key_id)
    assert await alice.allows(world.alice.address, key_id)
    with pytest.raises(RefusedByContractError, match="KeyExists"):
        await of(world, world.bob).reserve(key_id)
    with pytest.raises(ClientError, match="one account only"):
        await alice.permit(key_id, [world.bob.address, world.charlie.address])
    await alice.permit(key_id, [world.bob.address])
    assert await alice.allows(world.bob.address, key_id)
    assert not await alice.allows(world.alice.address, key_id)
    assert await alice.users(key_id) is None
    assert await alice.admin(key_id) is None


async def test_without_a_permission_contract_there_is_nothing_to_grant(world: World) -> None:
    with pytest.raises(ConfigError, match=REGISTRY):
        Permissions(world.ethereum, Contracts({}), world.alice)
