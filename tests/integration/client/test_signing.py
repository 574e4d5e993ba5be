"""Signatures through the real contracts, answered by scripted key servers."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account
from web3 import AsyncWeb3

from keyserver.cli.main import main
from keyserver.client.contracts import KEY_SERVER_SET, SIGNING, Contracts
from keyserver.client.errors import (
    BadAnswerError,
    ClientError,
    NoAnswerError,
    RefusedByContractError,
    RefusedByKeyServersError,
)
from keyserver.client.http_provider import HttpProvider
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.devnet.embedded_chain import EmbeddedChain
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS
from keyserver.errors import ConfigError
from keyserver.evm.abi import Function
from keyserver.evm.artifacts import load_artifact
from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.model.requests import SigningScheme
from tests.integration.client.conftest import CHAIN_ID, RNG, SERVERS, World
from tests.support.server_signatures import schnorr_with, sign_with
from tests.support.signature_checks import is_ecdsa, is_schnorr

SCHEMES = [SigningScheme.SCHNORR, SigningScheme.ECDSA]
SUBJECT = "bytes32,address,bytes32"
MAJORITY = range(SERVERS // 2 + 1)
THRESHOLD = 1
MESSAGE = Hash32(keccak256(b"a message"))


@pytest.fixture(scope="session")
async def places(
    chain: EmbeddedChain, deployed: dict[str, Contracts]
) -> dict[SigningScheme, Address]:
    """Where the two contracts stand, for the key servers of the world."""
    provider = HttpProvider(chain.rpc_url)
    w3, account = AsyncWeb3(provider), Account.from_key(DEVELOPMENT_PRIVATE_KEYS[0])
    key_server_set = next(iter(deployed.values())).find(KEY_SERVER_SET)
    assert key_server_set is not None
    found = {}
    for scheme, service in SIGNING.items():
        artifact = load_artifact(service.contract)
        contract = w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        fields = {
            "from": account.address,
            "nonce": await w3.eth.get_transaction_count(account.address),
        }
        members = AsyncWeb3.to_checksum_address("0x" + key_server_set.hex())
        transaction = await contract.constructor(members).build_transaction(fields)
        raw = account.sign_transaction(transaction).raw_transaction
        receipt = await w3.eth.wait_for_transaction_receipt(
            await w3.eth.send_raw_transaction(raw), poll_latency=0.02
        )
        assert receipt["contractAddress"] is not None
        found[scheme] = Address(bytes.fromhex(receipt["contractAddress"][2:]))
    await provider.disconnect()
    return found


@pytest.fixture
def signing(world: World, places: dict[SigningScheme, Address]) -> World:
    """The world with both contracts in it."""
    more = {SIGNING[scheme].contract: address for scheme, address in places.items()}
    addresses = {**world.contracts.address_by_name, **more}
    return replace(world, contracts=replace(world.contracts, address_by_name=addresses))


class Signers:
    """The key servers, with the whole key in their hands."""

    def __init__(self, world: World, scheme: SigningScheme, key_id: KeyId) -> None:
        self.key = SecretScalar.random(RNG)
        self._world = world
        self._scheme = scheme
        self._service = world.contracts.service(SIGNING[scheme])
        self._subject = key_id, "0x" + world.bob.address.hex(), MESSAGE

    async def requested(self) -> None:
        """Wait for bob's request."""
        topic = SIGNING[self._scheme].requested.topic0
        async for _ in self._world.ethereum.heads():
            logs = await self._world.ethereum.logs(self._service, [[topic]], from_block=0)
            if any(log.data[:32] == self._subject[0] for log in logs):
                return

    async def agree(self, by: Sequence[int] = MAJORITY) -> None:
        """The common stage."""
        await self._answer(
            "SigningCommonRetrieved", "bytes,uint8", self.key.public().raw64, THRESHOLD, by=by
        )

    async def sign(self) -> None:
        """The personal stage; one of them is enough."""
        if self._scheme is SigningScheme.ECDSA:
            signature = sign_with(self._scheme, self.key, MESSAGE)
            on_chain = signature[:64] + bytes([27 + signature[64]])
            await self._answer("MessageSigned", "bytes", on_chain, by=[2])
        else:
            made = schnorr_with(self._scheme, self.key, MESSAGE)
            await self._answer(
                "MessageSigned", "bytes,bytes", made.encode(), made.nonce.raw64, by=[2]
            )

    async def refuse(self) -> None:
        """The error, in whichever stage it is."""
        await self._answer("SigningError", "", by=MAJORITY)

    async def all(self) -> None:
        """Both stages, as soon as there is a request."""
        await self.requested()
        await self.agree()
        await self.sign()

    async def _answer(self, what: str, types: str, *values: object, by: Sequence[int]) -> None:
        name = "schnorr" if self._scheme is SigningScheme.SCHNORR else "ecdsa"
        signature = f"{name}{what}({','.join(filter(None, (SUBJECT, types)))})"
        data = Function.parse(signature).encode(*self._subject, *values)
        for index in by:
            wallet = self._world.servers.wallets[index]
            await self._world.ethereum.send(wallet, self._service, data)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_message_is_signed(signing: World, scheme: SigningScheme) -> None:
    key_id = signing.new_key_id()
    signers, client = Signers(signing, scheme, key_id), signing.client(signing.bob)
    answer, _ = await asyncio.gather(client.sign(key_id, MESSAGE, scheme), signers.all())
    assert (answer.value.scheme, answer.value.public) == (scheme, signers.key.public())
    assert answer.answered_in > answer.requested_in
    assert {progress.expected for progress in signing.seen} <= {SERVERS, None}
    assert all(str(progress).startswith("block ") for progress in signing.seen)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_an_answer_counts_when_it_is_confirmed(signing: World, scheme: SigningScheme) -> None:
    key_id = signing.new_key_id()
    signers = Signers(signing, scheme, key_id)
    client = signing.client(signing.bob, confirmations=2, patience_s=1.0)

    async def answer() -> None:
        await signers.all()  # the last block has nothing on top

    with pytest.raises(NoAnswerError):
        await asyncio.gather(client.sign(key_id, MESSAGE, scheme), answer())


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("agreed", [False, True], ids=["at once", "after they agreed on the key"])
async def test_the_key_servers_refuse(signing: World, scheme: SigningScheme, agreed: bool) -> None:
    key_id = signing.new_key_id()
    signers, client = Signers(signing, scheme, key_id), signing.client(signing.bob)

    async def answer() -> None:
        await signers.requested()
        if agreed:
            await signers.agree()
        await signers.refuse()

    with pytest.raises(RefusedByKeyServersError, match="signing") as raised:
        await asyncio.gather(client.sign(key_id, MESSAGE, scheme), answer())
    assert "permission" in raised.value.advice


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_another_key_than_the_expected_one(signing: World, scheme: SigningScheme) -> None:
    key_id = signing.new_key_id()
    signers, client = Signers(signing, scheme, key_id), signing.client(signing.bob)
    expected = SecretScalar.random(RNG).public()
    contract = signing.contracts.service(SIGNING[scheme])
    with pytest.raises(BadAnswerError, match=f"0x{contract.hex()}: the signature is another"):
        await asyncio.gather(client.sign(key_id, MESSAGE, scheme, public=expected), signers.all())


async def test_a_contract_that_takes_wrong_signatures_is_named(signing: World) -> None:
    """Ours takes none: what stands there instead is told by another contract's address."""
    key_id, scheme = signing.new_key_id(), SigningScheme.ECDSA
    signers, client = Signers(signing, scheme, key_id), signing.client(signing.bob)
    other = Hash32(keccak256(b"something else"))

    async def answer() -> None:
        await signers.requested()
        await signers.agree()
        await signers.sign()

    logs = client.ethereum.logs

    async def altered(*arguments: object, **more: object) -> object:
        found = await logs(*arguments, **more)  # type: ignore[arg-type]  # as they come
        made = SIGNING[scheme].results[1].topic0
        wrong = sign_with(scheme, signers.key, other)
        event = SIGNING[scheme].results[1]
        who = "0x" + signing.bob.address.hex()
        return [
            replace(log, data=event.encode(key_id, who, MESSAGE, wrong)[1])
            if log.topics[0] == made
            else log
            for log in found
        ]

    client.ethereum.logs = altered  # type: ignore[method-assign,assignment]  # a lying contract
    contract = signing.contracts.service(SIGNING[scheme])
    with pytest.raises(BadAnswerError, match=f"0x{contract.hex()}: signature"):
        await asyncio.gather(client.sign(key_id, MESSAGE, scheme), answer())


async def test_one_request_for_a_message_at_a_time(signing: World) -> None:
    key_id, scheme = signing.new_key_id(), SigningScheme.ECDSA
    client = signing.client(signing.bob, patience_s=0.3)
    with pytest.raises(NoAnswerError, match="ECDSA signing"):
        await client.sign(key_id, MESSAGE, scheme)
    with pytest.raises(RefusedByContractError, match="AlreadyPending") as raised:
        await client.sign(key_id, MESSAGE, scheme)
    assert "wait" in raised.value.advice


async def test_what_no_contract_does(world: World, signing: World) -> None:
    key_id = world.new_key_id()
    with pytest.raises(ClientError, match="no contract for FROST") as raised:
        await signing.client(world.bob).sign(key_id, MESSAGE, SigningScheme.FROST)
    assert "HTTP" in raised.value.advice
    assert "--node URL" in raised.value.advice
    contracts = Contracts({}, world.contracts.chain_id)
    with pytest.raises(ConfigError, match="SecretStoreEcdsaSigningService is not given"):
        await (
            replace(world, contracts=contracts)
            .client(world.bob)
            .sign(key_id, MESSAGE, SigningScheme.ECDSA)
        )


# --- on the command line ---------------------------------------------------------------------


def who_and_where(world: World, directory: Path) -> list[str]:
    """The options of bob's command."""
    contracts, key = directory / "contracts.json", directory / "bob.json"
    addresses = {name: f"0x{at.hex()}" for name, at in world.contracts.address_by_name.items()}
    contracts.write_text(json.dumps({"contracts": addresses, "chain_id": CHAIN_ID}))
    key.write_text(json.dumps(Account.encrypt(keccak256(b"bob"), "pass", iterations=1)))
    (directory / "password").write_text("pass\n")
    account = ["--key-file", str(key), "--password-file", str(directory / "password")]
    return ["--rpc", world.url, "--contracts", str(contracts), *account]


async def run(*words: str) -> int:
    """A command beside the chain, whose loop goes on."""
    return await asyncio.to_thread(main, ["client", "sign", *words])


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_command_has_a_hash_signed(
    signing: World, scheme: SigningScheme, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key_id, name = signing.new_key_id(), scheme.name.lower()
    signers = Signers(signing, scheme, key_id)
    words = [key_id.hex(), "--hash", MESSAGE.hex(), "--scheme", name, "--json"]
    status, _ = await asyncio.gather(run(*words, *who_and_where(signing, tmp_path)), signers.all())
    told = capsys.readouterr()
    assert status == 0, told.err
    facts = json.loads(told.out)
    public = signers.key.public().raw64
    assert facts["public"] == f"0x{public.hex()}"
    signature = bytes.fromhex(facts["signature"][2:])
    assert (is_ecdsa if "signer" in facts else is_schnorr)(public, MESSAGE, signature)
    assert facts["gas"] > 0
    assert "block" in told.err, "progress"


async def test_a_command_says_that_it_is_refused(
    signing: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key_id = signing.new_key_id()
    signers = Signers(signing, SigningScheme.ECDSA, key_id)

    async def answer() -> None:
        await signers.requested()
        await signers.refuse()

    words = [key_id.hex(), "--hash", MESSAGE.hex(), *who_and_where(signing, tmp_path)]
    status, _ = await asyncio.gather(run(*words), answer())
    told = capsys.readouterr()
    assert (status, told.out) == (1, "")
    assert "ECDSA signing: the key servers answered with an error" in told.err
    assert "permission" in told.err
    assert "no such key" in told.err
    frost = [key_id.hex(), "--hash", MESSAGE.hex(), "--scheme", "frost"]
    assert await run(*frost, *who_and_where(signing, tmp_path)) == 2
    said = capsys.readouterr().err
    assert "no contract for FROST" in said
    assert "--node URL" in said
