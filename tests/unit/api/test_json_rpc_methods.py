"""Parameters of the module's methods, and the order of its checks."""

from typing import Any

import pytest

from keyserver.api.json_rpc_errors import RpcError
from keyserver.api.json_rpc_methods import SecretStoreModule
from keyserver.crypto import ecies
from keyserver.crypto.curve import GENERATOR, SecretScalar, negate
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import NodeId
from tests.support.rpc_listener import KnownAccount, accounts_of

KEY = SecretScalar.from_int(7)
ADDRESS = f"0x{NodeId.of(KEY.public()).address.hex()}"
ALICE = KnownAccount(
    {"address": ADDRESS, "password": "pwd", "private_key": f"0x{KEY.expose().hex()}"}
)
RANDOM = SeededRandom(1)
MODULE = SecretStoreModule(accounts_of([ALICE]), RANDOM)
HASH, POINT = f"0x{'11' * 32}", f"0x{GENERATOR.raw64.hex()}"
OFF = f"0x{'22' * 64}"
DOCUMENT = f"0x{'33' * 20}"


def sealed(plaintext: bytes) -> str:
    return f"0x{ecies.encrypt(KEY.public(), plaintext, RANDOM).hex()}"


KEY_MESSAGE = sealed(GENERATOR.raw64)
ONE = sealed(bytes(31) + b"\x01")


async def error_of(method: str, *params: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await MODULE.methods[f"secretstore_{method}"](list(params))
    return caught.value


RIGHT: dict[str, list[Any]] = {
    "signRawHash": [ADDRESS, "pwd", HASH],
    "serversSetHash": [[POINT]],
    "generateDocumentKey": [ADDRESS, "pwd", POINT],
    "encrypt": [ADDRESS, "pwd", KEY_MESSAGE, DOCUMENT],
    "decrypt": [ADDRESS, "pwd", KEY_MESSAGE, DOCUMENT],
    "shadowDecrypt": [ADDRESS, "pwd", POINT, POINT, [ONE], DOCUMENT],
}


@pytest.mark.parametrize("method", RIGHT)
async def test_right_parameters(method: str) -> None:
    assert await MODULE.methods[f"secretstore_{method}"](RIGHT[method])


@pytest.mark.parametrize("method", RIGHT)
@pytest.mark.parametrize("wrong", [None, 5, True, {}, [5], "", "0x1", "0xzz", "11", "0X11"])
async def test_every_parameter_of_a_wrong_form(method: str, wrong: Any) -> None:
    for index in range(len(RIGHT[method])):
        params = list(RIGHT[method])
        if index == 1 and isinstance(wrong, str):
            continue
        params[index] = wrong
        error = await error_of(method, *params)
        assert error.code == -32602
        assert error.message.startswith("Invalid params: ")


@pytest.mark.parametrize("method", RIGHT)
@pytest.mark.parametrize("params", [None, {}, "x", 5])
async def test_parameters_that_are_no_array(method: str, params: Any) -> None:
    with pytest.raises(RpcError) as caught:
        await MODULE.methods[f"secretstore_{method}"](params)
    assert caught.value.code == -32602


@pytest.mark.parametrize("method", RIGHT)
async def test_the_number_of_parameters(method: str) -> None:
    for params in (RIGHT[method][:-1], [*RIGHT[method], "0x"]):
        assert (await error_of(method, *params)).code == -32602


async def test_a_password_that_is_no_text() -> None:
    error = await error_of("signRawHash", ADDRESS, "\ud800", HASH)
    assert (error.code, error.message) == (
        -32602,
        "Invalid params: password: must be valid Unicode",
    )


@pytest.mark.parametrize("password", [" pwd", "pwd ", "pwd\n", "PWD", ""])
async def test_a_password_is_used_as_it_stands(password: str) -> None:
    """Not trimmed; and what a call before has opened is not open for the next."""
    assert await MODULE.methods["secretstore_signRawHash"]([ADDRESS, "pwd", HASH])
    error = await error_of("signRawHash", ADDRESS, password, HASH)
    assert (error.code, error.data) == (-32023, "SStore(InvalidPassword)")


async def test_errors_do_not_repeat_what_was_sent() -> None:
    error = await error_of("signRawHash", "my password", "pwd", HASH)
    assert "my password" not in f"{error} {error.message} {error.data}"


async def test_the_account_comes_before_everything_but_the_form() -> None:
    bad = [ADDRESS, "wrong"]
    generate = await error_of("generateDocumentKey", *bad, OFF)
    assert (generate.message, generate.data) == (
        "Could not read account public.",
        "InvalidPassword",
    )
    for method, params in (
        ("encrypt", ["0x", "0x"]),
        ("decrypt", ["0x", "0x"]),
        ("shadowDecrypt", [OFF, OFF, ["0x"], "0x"]),
    ):
        error = await error_of(method, *bad, *params)
        assert (error.message, error.data) == ("Could not decrypt key.", "SStore(InvalidPassword)")
    unknown = await error_of("signRawHash", f"0x{'00' * 20}", "pwd", HASH)
    assert unknown.data == "SStore(InvalidAccount)"


async def test_messages_come_before_lengths_and_lengths_before_points() -> None:
    me = [ADDRESS, "pwd"]
    message = await error_of("decrypt", *me, "0x", "0x00")
    assert (message.message, message.data) == (
        "Could not decrypt key.",
        "SStore(EthPublicKeyCrypto(InvalidMessage))",
    )
    assert (await error_of("decrypt", *me, sealed(b"x" * 63), "0x")).message.endswith(": key")
    short = await error_of("decrypt", *me, sealed(bytes.fromhex(OFF[2:])), "0x00")
    assert short.message.endswith(": encrypted_document")
    assert short.data == '"invalid encrypted data"'
    assert (await error_of("decrypt", *me, sealed(b"\x22" * 64), DOCUMENT)).code == -32055
    assert (await error_of("encrypt", *me, sealed(b"\x22" * 64), "0x")).code == -32055
    shadows = [OFF, POINT]
    assert (await error_of("shadowDecrypt", *me, *shadows, [ONE, "0x"], "0x")).code == -32023
    scalar = await error_of("shadowDecrypt", *me, *shadows, [ONE, sealed(bytes(32))], "0x")
    assert scalar.message == "invalid secret"
    wrong_size = await error_of("shadowDecrypt", *me, *shadows, [sealed(b"\x01" * 31)], "0x")
    assert (wrong_size.code, wrong_size.message) == (-32023, "invalid secret")
    assert isinstance(wrong_size.data, str)
    document = await error_of("shadowDecrypt", *me, *shadows, [ONE], "0x00")
    assert document.message.endswith(": encrypted_document")
    for points in ([OFF, POINT], [POINT, OFF]):
        assert (await error_of("shadowDecrypt", *me, *points, [ONE], DOCUMENT)).code == -32055


async def test_sums_that_cannot_be() -> None:
    me = [ADDRESS, "pwd"]
    minus_one = SecretScalar.from_int(1).negate().expose()
    zero = [ONE, sealed(minus_one)]
    assert (await error_of("shadowDecrypt", *me, POINT, POINT, zero, DOCUMENT)).code == -32055
    opposite = f"0x{negate(GENERATOR).raw64.hex()}"
    infinite = await error_of("shadowDecrypt", *me, opposite, POINT, [ONE], DOCUMENT)
    assert (infinite.code, infinite.message) == (-32055, "Encryption error.")


async def test_no_shadows() -> None:
    error = await error_of("shadowDecrypt", ADDRESS, "pwd", POINT, POINT, [], DOCUMENT)
    assert error.message == "Couldn't parse parameters: decrypt_shadows"
