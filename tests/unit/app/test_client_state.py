"""The node as its clients meet it."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from keyserver.api.ports import Availability
from keyserver.app.client_state import ClientState
from keyserver.app.compose import Node
from keyserver.chain.client import BlockId, BlockRef
from keyserver.chain.ports import ChainView
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import Address, Hash32
from keyserver.model.node_set import NodeSet
from keyserver.sessions.core import Policy
from tests.support.fake_cluster import node_of as node_of_number
from tests.unit.app.samples import SECRETS, load_text

BLOCK = BlockId(7, Hash32(bytes([7]) * 32))
HEAD = BlockRef(BLOCK.number, BLOCK.hash, Hash32(bytes(32)), 0, None)


class Watcher:
    """What the chain looks like now."""

    def __init__(self, view: ChainView) -> None:
        self.view = view


class Permissions:
    """Whether the contract could be asked."""

    reached = True


def node_of(
    tmp_path: Path,
    acl_contract: str,
    watcher: Watcher | None,
    permissions: Permissions | None = None,
) -> Node:
    """The parts of a node that are looked at."""
    config = load_text(
        tmp_path,
        f'[secretstore]\nself_secret = "{SECRETS["a"]}"\nacl_contract = "{acl_contract}"\n',
    ).config
    reading = SimpleNamespace(permissions=permissions or Permissions())
    work = SimpleNamespace(watcher=watcher)
    chain = None if watcher is None else SimpleNamespace(work=work, reading=reading)
    return cast(
        Node,
        SimpleNamespace(
            config=config,
            chain=chain,
            key_server=object(),
            driver=SimpleNamespace(policy=Policy(forbid_plain_modes=True)),
        ),
    )


@pytest.mark.parametrize("acl_contract", ["registry", "ab" * 20])
def test_the_chain_is_silent_while_it_is_not_trusted(tmp_path: Path, acl_contract: str) -> None:
    watcher = Watcher(ChainView(None, None, "no block was read yet"))
    state = ClientState(node_of(tmp_path, acl_contract, watcher))
    found = []
    for problem in ("no block was read yet", None, "the Ethereum node does not answer", None):
        watcher.view = ChainView(HEAD, BLOCK, problem)
        found.append(state.chain_is_silent)
    assert found == [True, False, True, False]
    watcher.view = ChainView(None, None, None)
    assert state.chain_is_silent


def test_the_chain_is_silent_when_a_question_failed_and_nobody_else_has_noticed(
    tmp_path: Path,
) -> None:
    permissions = Permissions()
    watcher = Watcher(ChainView(HEAD, BLOCK, None))
    state = ClientState(node_of(tmp_path, "registry", watcher, permissions))
    permissions.reached = False
    assert state.chain_is_silent
    permissions.reached = True
    assert not state.chain_is_silent


def test_the_chain_is_silent_where_there_is_none(tmp_path: Path) -> None:
    assert ClientState(node_of(tmp_path, "registry", None)).chain_is_silent


def test_who_asks_no_contract_needs_no_chain(tmp_path: Path) -> None:
    assert not ClientState(node_of(tmp_path, "none", None)).chain_is_silent
    distrusted = Watcher(ChainView(None, None, "no block was read yet"))
    assert not ClientState(node_of(tmp_path, "none", distrusted)).chain_is_silent


def test_it_shows_the_parts_of_the_node(tmp_path: Path) -> None:
    node = node_of(tmp_path, "none", None)
    state = ClientState(node)
    assert state.availability is Availability.OPEN
    assert state.operations is node.key_server
    assert state.policy is node.driver.policy


def test_the_signing_domain_is_known_with_the_node_set(tmp_path: Path) -> None:
    node = node_of(tmp_path, "none", None)
    contract, member = Address(b"\xc0" * 20), node_of_number(1)
    for members, is_known in (((), False), ((member,), True)):
        current = NodeSet.of(100, contract, set(members))
        node.node_sets = SimpleNamespace(snapshot=SimpleNamespace(current=current))  # type: ignore[misc]
        node.driver.policy = Policy(chain_id=100, verifying_contract=contract)  # type: ignore[misc]
        expected = SigningDomain(100, contract) if is_known else None
        assert ClientState(node).signing_domain == expected
