"""Deploying and wiring everything from a plan."""

import json
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import AsyncWeb3
from web3.providers.eth_tester import AsyncEthereumTesterProvider

from keyserver.client.deployment import DeploymentError, deploy_contracts, entry_hash
from keyserver.client.deployment_plan import (
    SERVICES,
    DeploymentPlan,
    Layout,
    Permission,
    PlannedNode,
    account_of,
    load_plan,
    read_key,
)
from keyserver.errors import ConfigError
from tests.contracts.chain import ETHER, Chain, Contract, key_of, public_of
from tests.contracts.world import SERVERS

NODES = tuple(PlannedNode(public_of(s), f"127.0.0.1:{8000 + s}") for s in SERVERS[:3])
SAMPLE = Path(__file__).parents[2] / "deploy" / "contracts.sample.toml"


@pytest.fixture
def w3(chain: Chain) -> AsyncWeb3[AsyncEthereumTesterProvider]:
    provider = AsyncEthereumTesterProvider()
    provider.ethereum_tester = chain.tester
    return AsyncWeb3(provider)


@pytest.fixture
def deployer() -> LocalAccount:
    return key_of(1)


async def test_combined_deployment_is_ready_for_use(
    chain: Chain, w3: AsyncWeb3[AsyncEthereumTesterProvider], deployer: LocalAccount
) -> None:
    lines: list[str] = []
    deployed = await deploy_contracts(w3, deployer, DeploymentPlan(NODES), lines.append)

    contracts = deployed.contracts
    key_servers = at(chain, contracts, "OwnedKeyServerSetWithMigration")
    assert key_servers.call("getCurrentKeyServers") == [key_of(s).address for s in SERVERS[:3]]
    assert key_servers.call("isInitialized") is True
    assert key_servers.call("owner") == deployer.address
    service = at(chain, contracts, "SecretStoreService")
    assert service.call("keyServerSetAddress") == key_servers.address
    registry = at(chain, contracts, "SimpleRegistry")
    assert registry.call("fee") == ETHER
    assert dict(deployed.entries) == {
        "secretstore_server_set": contracts["OwnedKeyServerSetWithMigration"],
        "secretstore_acl_checker": contracts["OnceTransferablePermission"],
        "secretstore_service": contracts["SecretStoreService"],
        "secretstore_service_ecdsa_sign": contracts["SecretStoreEcdsaSigningService"],
        "secretstore_service_schnorr_sign": contracts["SecretStoreSchnorrSigningService"],
    }
    for entry, address in deployed.entries.items():
        assert registry.call("getAddress", entry_hash(entry), "A") == address
    assert any(contracts["SecretStoreService"] in line for line in lines)
    told = json.loads(deployed.to_json())
    assert told["contracts"] == dict(contracts)
    assert told["chain_id"] == deployed.chain_id == chain.w3.eth.chain_id
    assert told["gas_used"] > 5_000_000


async def test_separate_services_with_fees_and_a_relay(
    chain: Chain, w3: AsyncWeb3[AsyncEthereumTesterProvider], deployer: LocalAccount
) -> None:
    plan = DeploymentPlan(
        NODES,
        Layout.SEPARATE,
        fees={"document_key_store": 5, "server_key_generation": 0, "schnorr_signing": 7},
        permission=Permission.RELAY,
    )
    deployed = await deploy_contracts(w3, deployer, plan)

    contracts = deployed.contracts
    assert set(deployed.entries) == {
        "secretstore_server_set",
        "secretstore_acl_checker",
        *(service.entry for service in SERVICES),
    }
    store = at(chain, contracts, "SecretStoreDocumentKeyStoreService")
    assert store.call("documentKeyStoreFee") == 5
    generation = at(chain, contracts, "SecretStoreServerKeyGenerationService")
    assert generation.call("serverKeyGenerationFee") == 0
    retrieval = at(chain, contracts, "SecretStoreServerKeyRetrievalService")
    assert retrieval.call("serverKeyRetrievalFee") == 10**17
    ecdsa = at(chain, contracts, "SecretStoreEcdsaSigningService")
    assert ecdsa.call("ecdsaSigningFee") == 2 * 10**17
    schnorr = at(chain, contracts, "SecretStoreSchnorrSigningService")
    assert schnorr.call("schnorrSigningFee") == 7
    relay = at(chain, contracts, "PermissioningRelay")
    assert relay.call("permissioningContract") == contracts["PermissioningRegistry"]
    assert deployed.entries["secretstore_acl_checker"] == relay.address


@pytest.mark.parametrize(
    ("permission", "users", "document"),
    [
        (Permission.NO_DOC, (str(key_of(2).address),), b""),
        (Permission.FIRE_AND_FORGET, (str(key_of(2).address),), b"\x01" * 32),
        (Permission.DYNAMIC, (), b""),
        (Permission.STATIC, (), b""),
        (Permission.REGISTRY, (), b""),
    ],
)
async def test_permission_contracts_and_an_existing_registry(
    chain: Chain,
    w3: AsyncWeb3[AsyncEthereumTesterProvider],
    deployer: LocalAccount,
    permission: Permission,
    users: tuple[str, ...],
    document: bytes,
) -> None:
    registry = chain.deploy("SimpleRegistry", owner=2)
    plan = DeploymentPlan(
        NODES,
        permission=permission,
        permission_users=users,
        permission_document=document,
        registry_address=registry.address,
    )
    deployed = await deploy_contracts(w3, deployer, plan)

    acl = registry.call("getAddress", entry_hash("secretstore_acl_checker"), "A")
    assert acl == deployed.contracts[permission]
    assert chain.balance(registry.address) == 5 * ETHER
    if users:
        checker = at(chain, deployed.contracts, permission)
        assert checker.call("checkPermissions", users[0], b"\x01" * 32) is True


async def test_without_a_registry_the_entries_are_told_all_the_same(
    w3: AsyncWeb3[AsyncEthereumTesterProvider], deployer: LocalAccount
) -> None:
    deployed = await deploy_contracts(w3, deployer, DeploymentPlan(NODES, registry=False))

    assert "SimpleRegistry" not in deployed.contracts
    assert deployed.entries["secretstore_service"] == deployed.contracts["SecretStoreService"]


async def test_another_chain_is_refused(
    chain: Chain, w3: AsyncWeb3[AsyncEthereumTesterProvider], deployer: LocalAccount
) -> None:
    before = chain.block
    with pytest.raises(DeploymentError, match="expected 7"):
        await deploy_contracts(w3, deployer, DeploymentPlan(NODES), chain_id=7)
    assert chain.block == before


async def test_a_failing_step_is_named(
    chain: Chain, w3: AsyncWeb3[AsyncEthereumTesterProvider], deployer: LocalAccount
) -> None:
    registry = chain.deploy("SimpleRegistry", owner=2)
    taken = entry_hash("secretstore_server_set")
    registry.send("reserve", taken, sender=3, value=ETHER)
    plan = DeploymentPlan(NODES, registry_address=registry.address)

    with pytest.raises(DeploymentError, match="reserve secretstore_server_set"):
        await deploy_contracts(w3, deployer, plan)


def at(chain: Chain, contracts: object, name: str) -> Contract:
    assert isinstance(contracts, dict)
    return Contract(chain, name, contracts[name])


# --- plans


def test_the_sample_is_a_plan() -> None:
    file = load_plan(SAMPLE)

    assert file.endpoint == "http://127.0.0.1:8545"
    assert file.chain_id is None
    assert file.key_file is None
    assert len(file.plan.nodes) == 3
    assert file.plan == DeploymentPlan(file.plan.nodes)


NODE = f'[[nodes]]\npublic_key = "0x{public_of(101).hex()}"\naddress = "h:1"\n'
CHAIN = '[chain]\nendpoint = "http://x"\n'


def test_all_fields_of_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    user = str(key_of(2).address)
    path.write_text(
        f'{CHAIN}chain_id = 5\nkey_file = "k"\n[contracts]\nservices = "separate"\n'
        f'[permission]\ncontract = "PermissioningFireAndForget"\nusers = ["{user}"]\n'
        f'document = "0x{"01" * 32}"\n[registry]\nwanted = false\n[fees]\n'
        f"document_key_store = 9\n{NODE}"
    )
    file = load_plan(path)

    assert (file.chain_id, file.key_file) == (5, tmp_path / "k")
    assert file.plan == DeploymentPlan(
        (PlannedNode(public_of(101), "h:1"),),
        Layout.SEPARATE,
        {"document_key_store": 9},
        Permission.FIRE_AND_FORGET,
        (user,),
        b"\x01" * 32,
        registry=False,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[chain", "plan.toml"),
        (NODE, "chain.endpoint: is missing"),
        ('[chain]\nendpoint = "http://x"\n', "nodes: 0 given"),
        (f"{CHAIN}speed = 1\n{NODE}", "chain.speed: unknown field"),
        (f"{CHAIN}[speed]\n{NODE}", "speed: unknown field"),
        (f"{CHAIN}chain_id = true\n{NODE}", "chain.chain_id: must be of type int"),
        (f'{CHAIN}[contracts]\nservices = "three"\n{NODE}', "contracts.services: 'three' is not"),
        (f'{CHAIN}[permission]\ncontract = "X"\n{NODE}', "permission.contract: 'X' is not one of"),
        (f"{CHAIN}[permission]\nusers = [1]\n{NODE}", "permission.users: must be a list of str"),
        (f"{CHAIN}{NODE}{NODE}", "same public_key"),
        (f"{CHAIN}{NODE.replace('h:1', 'h')}", "nodes[0].address: 'h' is not of the form"),
        (f"{CHAIN}{NODE.replace('h:1', 'h:65536')}", "nodes[0].address"),
        (f"{CHAIN}{NODE}role = 1\n", "nodes[0].role: unknown field"),
        (f"{CHAIN}{NODE.replace('0x', '0xzz')}", "nodes[0].public_key: must be hex"),
        (f"{CHAIN}{NODE.replace('0x', '0xab')}", "nodes[0].public_key: 65 bytes"),
        (f"{CHAIN}[fees]\nsigning = 1\n{NODE}", "fees.signing: unknown service"),
        (f"{CHAIN}[fees]\ndocument_key_store = -1\n{NODE}", "fees.document_key_store: -1 wei"),
        (f'{CHAIN}[fees]\ndocument_key_store = "1"\n{NODE}', "must be of type int"),
        (f'{CHAIN}[registry]\naddress = "0x1"\n{NODE}', "registry.address"),
        (f"nodes = [1]\n{CHAIN}", "nodes: must be a list of tables"),
    ],
)
def test_bad_plans_name_the_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_plan(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"permission": Permission.NO_DOC}, "permission.users"),
        ({"permission_users": (str(key_of(2).address),)}, "permission.users"),
        ({"permission": Permission.NO_DOC, "permission_users": ("bob",)}, "'bob'"),
        ({"permission_document": b"\x01"}, "permission.document"),
    ],
)
def test_bad_permissions_name_the_field(plan: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DeploymentPlan(NODES, **plan)  # type: ignore[arg-type]


def test_points_off_the_curve_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"nodes\[0\].public_key: not a point"):
        DeploymentPlan((PlannedNode(bytes(63) + b"\x01", "h:1"),))


def test_a_missing_plan_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_plan(tmp_path / "none.toml")


# --- keys


def test_keys_in_files(tmp_path: Path) -> None:
    account = key_of(7)
    plain, sealed = tmp_path / "plain", tmp_path / "sealed"
    plain.write_text(account.key.hex() + "\n")
    encrypted = Account.encrypt(account.key, "secret words", kdf="scrypt", iterations=4096)
    sealed.write_text(json.dumps(encrypted))

    assert read_key(plain, lambda: pytest.fail("asked")).address == account.address
    assert read_key(sealed, lambda: "secret words").address == account.address
    with pytest.raises(ConfigError, match="wrong passphrase"):
        read_key(sealed, lambda: "other words")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(tmp_path / "none", lambda: "")


@pytest.mark.parametrize("key", ["", "0x", "zz" * 32, "11" * 31, "00" * 32, "ff" * 32])
def test_bad_keys_are_refused_and_never_shown(key: str) -> None:
    with pytest.raises(ConfigError) as error:
        account_of(key, "KEY_VARIABLE")
    assert str(error.value) == "KEY_VARIABLE: not a private key of 32 bytes in hex"
