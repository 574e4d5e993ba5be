"""Small contracts in EVM code, for what no Solidity source of the project should contain."""

from eth_utils.abi import function_signature_to_4byte_selector as selector

from tests.contracts.chain import Chain

CALLDATASIZE, CALLDATACOPY, RETURNDATASIZE, RETURNDATACOPY = "36", "37", "3d", "3e"
ZERO, ONE, CALLVALUE, GAS, STOP, JUMPDEST = "6000", "6001", "34", "5a", "00", "5b"
JUMPI, EQ, DUP1, ISZERO, SSTORE, MSTORE, CALL, STATICCALL, RETURN, REVERT = (
    "57", "14", "80", "15", "55", "52", "f1", "fa", "f3", "fd",
)  # fmt: skip
LISTS = ("getCurrentList()", "getCurrentPlace(address)", "getPlace(uint256,address)")


def push(value: bytes) -> str:
    return f"{0x5F + len(value):02x}{value.hex()}"


def deploy(chain: Chain, code: str) -> str:
    """Deploy this runtime code and return its address."""
    runtime = bytes.fromhex(code)
    length = push(len(runtime).to_bytes(2, "big"))
    # Copy everything after these 14 bytes of code to memory and return it.
    init = bytes.fromhex(f"{length}600e{ZERO}39{length}{ZERO}{RETURN}").ljust(14, b"\0")
    created = chain.transact(1, None, init + runtime).created
    assert created is not None
    return created


def set_without_lists(chain: Chain, key_servers: str) -> str:
    """A key server set as others have deployed it: all of ours but `KeyServerLists`."""
    code = f"{ZERO}3560e01c"
    checks = [f"{DUP1}{push(selector(signature))}{EQ}60FF{JUMPI}" for signature in LISTS]
    code += "".join(checks)
    code += f"{CALLDATASIZE}{ZERO}{ZERO}{CALLDATACOPY}{ZERO}{ZERO}{CALLDATASIZE}{ZERO}"
    code += f"{push(bytes.fromhex(key_servers[2:]))}{GAS}{STATICCALL}"
    code += f"{RETURNDATASIZE}{ZERO}{ZERO}{RETURNDATACOPY}60EE{JUMPI}"
    fail = f"{len(code) // 2:02x}"
    code += f"{JUMPDEST}{RETURNDATASIZE}{ZERO}{REVERT}"
    good = f"{len(code) // 2:02x}"
    code += f"{JUMPDEST}{RETURNDATASIZE}{ZERO}{RETURN}"
    return deploy(chain, code.replace("60FF", "60" + fail).replace("60EE", "60" + good))


def set_of_one(chain: Chain, member: str) -> str:
    """A set whose list of key servers is always `[member]`, in answer to any call."""
    words = (b"\x20".rjust(32, b"\0"), b"\x01".rjust(32, b"\0"), bytes.fromhex(member[2:]))
    code = "".join(f"{push(word)}{push(bytes([32 * i]))}{MSTORE}" for i, word in enumerate(words))
    return deploy(chain, f"{code}6060{ZERO}{RETURN}")


def set_that_knows_everybody(chain: Chain, member: str) -> str:
    """A set with the one list `[member]`, that later claims everybody had been that member."""
    words = (b"\x20".rjust(32, b"\0"), b"\x01".rjust(32, b"\0"), bytes.fromhex(member[2:]))
    stores = [f"{push(word)}{push(bytes([32 * i]))}{MSTORE}" for i, word in enumerate(words)]
    code = f"{ZERO}3560e01c{push(selector('getCurrentKeyServers()'))}{EQ}60FF{JUMPI}"
    code += f"{ONE}{ZERO}{MSTORE}{ONE}6020{MSTORE}6040{ZERO}{RETURN}"
    members = f"{len(code) // 2:02x}"
    code += f"{JUMPDEST}{''.join(stores)}6060{ZERO}{RETURN}"
    return deploy(chain, code.replace("60FF", "60" + members))


def set_that_forgets(chain: Chain, member: str) -> str:
    """A set with the one list `[member]`, that answers nothing about its past."""
    known = set_that_knows_everybody(chain, member)
    code = f"{ZERO}3560e01c{push(selector('getPlace(uint256,address)'))}{EQ}60FF{JUMPI}"
    code += f"{CALLDATASIZE}{ZERO}{ZERO}{CALLDATACOPY}6060{ZERO}{CALLDATASIZE}{ZERO}"
    code += f"{push(bytes.fromhex(known[2:]))}{GAS}{STATICCALL}50"
    code += f"{RETURNDATASIZE}{ZERO}{ZERO}{RETURNDATACOPY}{RETURNDATASIZE}{ZERO}{RETURN}"
    fail = f"{len(code) // 2:02x}"
    code += f"{JUMPDEST}{ZERO}{ZERO}{REVERT}"
    return deploy(chain, code.replace("60FF", "60" + fail))


def wallet(chain: Chain, service: str) -> str:
    """A contract that can drain, and tries to drain once more while it is being paid.

    Storage: slot 0 is 1 once it was paid, slot 1 is 1 if the second attempt succeeded.
    """
    drain = f"{push(selector('drain()'))}60e01b{ZERO}{MSTORE}"
    drain += f"{ZERO}{ZERO}6004{ZERO}{ZERO}{push(bytes.fromhex(service[2:]))}{GAS}{CALL}"
    code = f"{CALLVALUE}60FF{JUMPI}{drain}60EE{JUMPI}{ZERO}{ZERO}{REVERT}"
    good = f"{len(code) // 2:02x}"
    code += f"{JUMPDEST}{STOP}"
    paid = f"{len(code) // 2:02x}"
    code += f"{JUMPDEST}{ONE}{ZERO}{SSTORE}{drain}{ONE}{SSTORE}{STOP}"
    return deploy(chain, code.replace("60FF", "60" + paid).replace("60EE", "60" + good))


def that_goes_on(chain: Chain, words: int) -> tuple[str, str]:
    """Two contracts: the first keeps the gas it got and calls the second, come of it what may.

    The second fills that many words of its storage, from word 0 on.
    """
    stores = "".join(f"{ONE}{push(bytes([word]))}{SSTORE}" for word in range(words))
    called = deploy(chain, stores + STOP)
    call = f"{ZERO * 5}{push(bytes.fromhex(called[2:]))}{GAS}{CALL}"
    return deploy(chain, f"{GAS}{ZERO}{SSTORE}{call}{STOP}"), called
