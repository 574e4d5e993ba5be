"""Calls on the embedded chain: executed once for each block, whoever asks."""

from typing import Any

import pytest

from keyserver.devnet.embedded_errors import RpcError
from keyserver.devnet.embedded_evm import Call, Evm

SOMEBODY = b"\x01" * 20
RETURN_NUMBER = bytes.fromhex("4360005260206000f3")
REVERT = bytes.fromhex("60006000fd")


def call(code: bytes, gas: int | None = None) -> Call:
    """Code that is executed as if it made a contract."""
    return Call(sender=SOMEBODY, to=b"", value=0, data=code, gas=gas)


@pytest.fixture
def evm() -> Evm:
    return Evm(chain_id=1, balance_by_address={SOMEBODY: 10**18})


@pytest.fixture
def executed(evm: Evm, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What is executed from now on."""
    calls: list[Call] = []
    execute = evm._execute

    def counting(header: Any, one: Call, gas: int) -> Any:
        calls.append(one)
        return execute(header, one, gas)

    monkeypatch.setattr(evm, "_execute", counting)
    return calls


def test_a_call_of_a_block_is_executed_once(evm: Evm, executed: list[Call]) -> None:
    block, _ = evm.build_block(
        evm.genesis.header,
        timestamp=1_700_000_001,
        mix_hash=bytes(32),
        candidates=(),
        balance_by_address={},
    )
    told = [
        evm.call(each.header, call(RETURN_NUMBER)) for each in (evm.genesis, block, evm.genesis)
    ]
    assert told[0] == told[2] != told[1]
    assert len(executed) == 2
    assert evm.call(block.header, call(RETURN_NUMBER, gas=100_000)) == told[1]
    assert len(executed) == 3, "another call, although its outcome is the same"


def test_a_call_that_fails_fails_each_time_alike(evm: Evm, executed: list[Call]) -> None:
    errors = []
    for _ in range(3):
        with pytest.raises(RpcError, match="execution reverted") as caught:
            evm.call(evm.genesis.header, call(REVERT))
        errors.append((str(caught.value), len(caught.traceback)))
    assert len(set(errors)) == 1
    assert len(executed) == 1
