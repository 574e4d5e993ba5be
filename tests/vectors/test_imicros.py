"""Shares, verify hash and keys of imicros-keys, byte for byte (sealing, A4 to A6 and C20)."""

import hashlib
import json
from itertools import combinations
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from keyserver.crypto.gf256 import interpolate, inverse, multiply
from keyserver.sealing.imicros.database import (
    Database,
    decode_name,
    hash_name,
    parse_dump,
    possible_pairs,
)
from keyserver.sealing.imicros.errors import ImicrosShareError, VerifyHashError
from keyserver.sealing.imicros.plan import derived_key, make_plan
from keyserver.sealing.imicros.shares import (
    POLYNOMIAL,
    ImicrosShare,
    MasterKey,
    combine,
    parse_share,
)
from keyserver.sealing.imicros.verify_hash import parse_verify_hash
from tests.support.imicros import DEPLOYMENT, SHARES, UNLISTED, VERIFY_HASH, answers, planned
from tests.vectors.files import load, raw

VECTORS = load("sealing")
SETS = {one["name"]: one for one in VECTORS["secretsjs"]["sets"]}
IMICROS = VECTORS["imicros"]
FIVE = SETS["imicros-5-3"]


def of_this_field(vectors: list[Any]) -> list[Any]:
    return [vector for vector in vectors if vector["field"] == hex(POLYNOMIAL)]


def test_arithmetic() -> None:
    for vector in of_this_field(VECTORS["gf256"]["mul"]):
        assert multiply(vector["a"], vector["b"], POLYNOMIAL) == vector["product"]
    for vector in of_this_field(VECTORS["gf256"]["inv"]):
        assert inverse(vector["a"], POLYNOMIAL) == vector["inverse"]


def any_share(text: str) -> ImicrosShare:
    """A share of any length, as the library reads it."""
    return ImicrosShare(int(text[1:3], 16), bytes.fromhex(text[3:]))


def at(shares: list[ImicrosShare], place: int = 0) -> bytes:
    return interpolate({share.number: share.value for share in shares}, place, POLYNOMIAL)


def without_padding(padded: bytes) -> str:
    """The secret: what follows the first 1 bit, in hexadecimal."""
    bits = f"{int.from_bytes(padded, 'big'):b}"[1:]
    return f"{int(bits, 2):0{len(bits) // 4}x}"


@pytest.mark.parametrize("vector", VECTORS["secretsjs"]["combine"], ids=lambda v: str(v["indices"]))
def test_shares_are_combined(vector: Any) -> None:
    shares = [any_share(SETS[vector["set"]]["shares"][index]) for index in vector["indices"]]
    assert without_padding(at(shares)) == vector["result"]


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_its_secret(name: str) -> None:
    vector = SETS[name]
    for some in combinations(vector["shares"], vector["threshold"]):
        assert without_padding(at([any_share(text) for text in some])) == vector["secret"]


def test_coefficients_make_the_shares() -> None:
    vector = VECTORS["secretsjs"]["split"]
    padded = bytes(15) + b"\x01" + raw(vector["secret"])
    drawn = iter(vector["coefficients"])
    lines = {at: (byte, next(drawn), next(drawn)) for at, byte in reversed([*enumerate(padded)])}
    assert (vector["threshold"], vector["shares_total"]) == (3, len(vector["shares"]))
    for text in vector["shares"]:
        share = parse_share(text)
        for at_byte, (secret, linear, square) in lines.items():
            x = share.number
            raised = multiply(square, multiply(x, x, POLYNOMIAL), POLYNOMIAL)
            value = secret ^ multiply(linear, x, POLYNOMIAL) ^ raised
            assert share.value[at_byte] == value


def test_another_field_is_refused() -> None:
    field, other = VECTORS["secretsjs"]["field"], VECTORS["secretsjs"]["other_field"]
    assert (field["bits"], field["reduction_polynomial"]) == (8, hex(POLYNOMIAL))
    assert other["bits"] == 10
    for text in other["shares"]:
        with pytest.raises(ImicrosShareError):
            parse_share(text)


def test_a_foreign_set_makes_no_confirmed_key() -> None:
    foreign = [parse_share(text) for text in VECTORS["secretsjs"]["foreign_set"]]
    right = parse_verify_hash(IMICROS["verify_hash"]["verify_hash"])
    for count in (3, 4, 5):
        with pytest.raises(ImicrosShareError, match="verify hash"):
            combine(foreign[:count], right)


def test_another_share_of_a_set() -> None:
    vector = VECTORS["secretsjs"]["new_share"]
    shares = [any_share(FIVE["shares"][index]) for index in vector["from_indices"]]
    expected = any_share(vector["share"])
    assert (vector["id"], at(shares, vector["id"])) == (expected.number, expected.value)


@pytest.mark.parametrize("vector", VECTORS["secretsjs"]["share_texts"], ids=lambda v: v["share"])
def test_texts_of_shares(vector: Any) -> None:
    if vector["required_of_importer"] == "accept":
        assert parse_share(vector["share"]).number == vector["id"]
        return
    with pytest.raises(ImicrosShareError):
        parse_share(vector["share"])


@pytest.mark.parametrize("vector", VECTORS["secretsjs"]["wrong_sets"], ids=lambda v: v["what"])
def test_wrong_sets_are_refused(vector: Any) -> None:
    shares = [parse_share(text) for text in vector["shares"]]
    assert without_padding(at(shares)) == vector["result"], "what the original takes for the key"
    with pytest.raises(ImicrosShareError) as problem:
        combine(shares, parse_verify_hash(IMICROS["verify_hash"]["verify_hash"]))
    if len({share.number for share in shares}) < 3:
        return  # too few, or one twice
    assert ("not the one of the verify hash" in str(problem.value)) == (
        vector["structure_check"] == "pass"
    )


@pytest.mark.parametrize("vector", IMICROS["verify_cases"], ids=lambda v: v["what"])
def test_verify_hashes(vector: Any) -> None:
    text = vector.get("verify_hash", vector.get("verify_hash_text"))
    try:
        confirmed = parse_verify_hash(text).confirms(vector["key"])
    except VerifyHashError:
        confirmed = False
    assert confirmed == vector["required_of_importer"]


@pytest.mark.parametrize("vector", IMICROS["key_derivation"], ids=lambda v: v["owner"])
def test_keys_are_derived(vector: Any) -> None:
    master = MasterKey(raw(vector["master_key"]))
    derived = derived_key(master, vector["owner"], vector["raw_key"])
    assert derived.expose().hex() == vector["key"]


@pytest.mark.parametrize("vector", IMICROS["redis_names"], ids=lambda v: v["redis_key"])
def test_names_of_hashes(vector: Any) -> None:
    pair = (vector["owner"], vector["service"])
    assert hash_name(*pair) == vector["redis_key"]
    decoded = decode_name(vector["redis_key"])
    assert decoded == "~".join(pair)
    assert pair in possible_pairs(str(decoded))


def test_the_deployment_comes_over_completely() -> None:
    database = parse_dump(json.dumps(DEPLOYMENT["redis"]))
    master = combine([parse_share(text) for text in SHARES], parse_verify_hash(VERIFY_HASH))
    assert master.text == DEPLOYMENT["master_key"]
    plan = make_plan(database, master, [UNLISTED])
    assert planned(plan) == answers()
    assert (plan.findings, plan.questions) == ((), ())
    for pair in plan.pairs:
        last = [a["id"] for a in DEPLOYMENT["answers"] if a["asked"] is None]
        assert pair.keys[-1].version.key_id in last
        assert [key.version.seq for key in pair.keys] == list(range(1, len(pair.keys) + 1))
    expected = DEPLOYMENT["importer"]
    unnamed = make_plan(database, master, [])
    assert [[pair.owner, pair.service] for pair in unnamed.pairs] == expected["listed_pairs"]
    assert [question.name for question in unnamed.questions] == expected["ambiguous_hash_names"]
    assert unnamed.questions[0].pairs == (tuple(expected["unlisted_pair_found_only_if_named"]),)


def read_content(content: Any) -> Any:
    """What was encrypted: an object is itself, the rest a text with its type."""
    match content:
        case {"type": "string", "value": text}:
            return text
        case {"type": "boolean" | "number", "value": text}:
            return json.loads(text)
    return content


@pytest.mark.parametrize("vector", IMICROS["v0_1_5"]["containers"], ids=lambda v: str(v["data"]))
def test_a_derived_key_opens_what_0_1_5_has_encrypted(vector: Any) -> None:
    version = IMICROS["v0_1_5"]
    master = MasterKey(raw(version["master_key"]))
    key = derived_key(master, version["token"], version["raw_key"]).expose().hex()
    assert key == version["key"]
    container = json.loads(vector["container"])
    iv, value = raw(container["iv"]), raw(container["value"])
    derived = hashlib.pbkdf2_hmac("sha512", key.encode(), iv, 1000, 32)
    opened = Cipher(algorithms.AES(derived), modes.CBC(iv)).decryptor()
    unpadder = PKCS7(128).unpadder()
    plain = unpadder.update(opened.update(value) + opened.finalize()) + unpadder.finalize()
    assert read_content(json.loads(plain)) == vector["back"]


def test_the_hash_of_a_share_in_0_1_5() -> None:
    """Only the vector: shares of 0.1.5 are not imported, so nothing here makes this hash."""
    vector = IMICROS["v0_1_5"]["share_hash"]
    assert hashlib.sha256(vector["share"].encode()).hexdigest() == vector["sha256"]


def test_a_stored_value() -> None:
    vector = IMICROS["redis_value"]
    expected, master = vector["value"], MasterKey(bytes(64))
    fields = {expected["guid"]: vector["encoded"], "default": vector["encoded"]}
    database = Database({"owners": ["a"], "a": ["b"]}, {hash_name("a", "b"): fields})
    plan = make_plan(database, master, [])
    assert plan.findings == ()
    ((stored,),) = [pair.keys for pair in plan.pairs]
    version = stored.version
    read = {"guid": version.key_id, "iat": version.created_at, "exp": version.expires_at}
    assert {**read, "key": expected["key"]} == expected
    assert stored.key == derived_key(master, "a", expected["key"])
