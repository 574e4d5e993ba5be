"""What the configuration becomes: contracts, policy, access and node sets."""

from pathlib import Path

from keyserver.app.compose import PolicySource, follows_chain
from keyserver.app.compose_chain import directory_sources, watcher_settings
from keyserver.app.config import Config
from keyserver.app.late_binding import LateOutcomes, LateTip
from keyserver.app.without_chain import AccessWithoutChain, NoNodeSets
from keyserver.chain.client import BlockTag
from keyserver.chain.name_registry import FixedContract, RegisteredContract
from keyserver.chain.node_set import StaticNodeSets
from keyserver.chain.ports import ChainView
from keyserver.engine.outcomes import DocumentInstalled, Outcome
from keyserver.model.identifiers import Address, KeyId
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import GenerateServerKey, OnChainAddress, Operation, Request
from keyserver.sessions.core import Authorise, Verdict
from tests.unit.app.samples import SECRETS, load_text

ADDRESS = "ab" * 20


def config_of(tmp_path: Path, secretstore: str = "", keyserver: str = "") -> Config:
    text = f'[secretstore]\nself_secret = "{SECRETS["a"]}"\n{secretstore}\n'
    text += f"[keyserver]\n{keyserver}\n"
    return load_text(tmp_path, text).config


def test_contracts_come_by_name_or_address_or_not_at_all(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        'acl_contract = "none"\n'
        f'service_contract_srv_gen = "{ADDRESS}"\nservice_contract_doc_store = "registry"',
        f'service_contract_ecdsa_sign = "{ADDRESS}"\nservice_contract_schnorr_sign = "registry"',
    )
    assert directory_sources(config) == {
        "server_set_contract": RegisteredContract(
            ("secretstore_server_set", "server_set_contract")
        ),
        "service_contract_srv_gen": FixedContract(Address(bytes.fromhex(ADDRESS))),
        "service_contract_doc_store": RegisteredContract(("secretstore_service_doc_store",)),
        "service_contract_ecdsa_sign": FixedContract(Address(bytes.fromhex(ADDRESS))),
        "service_contract_schnorr_sign": RegisteredContract(("secretstore_service_schnorr_sign",)),
    }


def test_a_node_without_contracts_follows_no_chain(tmp_path: Path) -> None:
    none = 'acl_contract = "none"\nserver_set_contract = "none"'
    assert not follows_chain(config_of(tmp_path, none))
    assert follows_chain(config_of(tmp_path, 'server_set_contract = "none"'))


def test_the_watcher_gets_the_numbers_of_the_configuration(tmp_path: Path) -> None:
    numbers = "confirmations = 7\nlog_chunk_blocks = 9\nretry_interval_blocks = 11\n"
    numbers += "max_head_age_seconds = 13\nstart_block = 17\n"
    settings = watcher_settings(config_of(tmp_path, keyserver=numbers))
    assert settings.confirmations == 7
    assert settings.log_chunk_blocks == 9
    assert settings.retry_interval_blocks == 11
    assert settings.max_head_age_s == 13
    assert settings.start_block == 17
    assert settings.finality is None
    finalized = config_of(tmp_path, keyserver='finality = "finalized"')
    assert watcher_settings(finalized).finality is BlockTag.FINALIZED


def test_the_policy_is_that_of_the_configuration(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        keyserver='max_faulty = 1\ngeneration_quorum = 4\nstrict_credentials = ["sign_frost"]\n'
        f'forbid_plain_modes = true\ngenerators = ["{ADDRESS}"]\nchain_id = 77',
    )
    contract = Address(b"\x11" * 20)
    sets = StaticNodeSets(NodeSet.of(77, contract, set()), {})
    policy = PolicySource(config, sets, None)()
    assert policy.max_faulty == 1
    assert policy.generation_quorum == 4
    assert policy.strict_credentials == {Operation.SIGN_FROST}
    assert policy.forbid_plain_modes
    assert policy.generators == {Address(bytes.fromhex(ADDRESS))}
    assert policy.service_contracts == frozenset()
    assert policy.chain_id == 77
    assert policy.verifying_contract == contract


def test_the_usual_quorum_is_all(tmp_path: Path) -> None:
    policy = PolicySource(config_of(tmp_path), NoNodeSets(0), None)()
    assert policy.generation_quorum is None
    assert policy.max_faulty is None


async def test_without_a_chain_nobody_has_permission_unless_everybody_has() -> None:
    requester = Address(bytes(20))
    operation = GenerateServerKey(KeyId(bytes(32)), 1)
    request = Request.of(operation, OnChainAddress(requester, requester))
    closed, open_ = AccessWithoutChain(open_to_all=False), AccessWithoutChain(open_to_all=True)
    for access, needs, expected in (
        (closed, True, Verdict.UNAVAILABLE),
        (closed, False, Verdict.ALLOWED),
        (open_, True, Verdict.ALLOWED),
    ):
        assert await access.authorise(Authorise(request, requester, needs)) is expected
        assert access.permission_block is None


def test_without_a_chain_the_set_of_a_contract_is_empty_and_stale() -> None:
    snapshot = NoNodeSets(5).snapshot
    assert len(snapshot.current) == 0
    assert snapshot.stale


class Listener:
    def __init__(self) -> None:
        self.heard: list[Outcome] = []

    def on_outcome(self, outcome: Outcome) -> None:
        self.heard.append(outcome)


def test_outcomes_go_to_the_listener_once_there_is_one() -> None:
    late, listener = LateOutcomes(), Listener()
    outcome = DocumentInstalled(KeyId(bytes(32)))
    late.on_outcome(outcome)
    late.listener = listener
    late.on_outcome(outcome)
    assert listener.heard == [outcome]


class Tip:
    view = ChainView(None, None, "testing")

    def __init__(self) -> None:
        self.waits = 0

    async def next_evaluation(self) -> None:
        self.waits += 1


async def test_the_tip_is_not_trusted_before_there_is_one() -> None:
    late, tip = LateTip(), Tip()
    assert not late.view.synced
    late.source = tip
    assert late.view is Tip.view
    await late.next_evaluation()
    assert tip.waits == 1
