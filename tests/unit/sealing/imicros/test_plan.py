"""What is odd in a database of imicros-keys is listed, and the rest comes over."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from keyserver.sealing.imicros.database import Database, hash_name, parse_dump
from keyserver.sealing.imicros.errors import DumpError
from keyserver.sealing.imicros.plan import (
    PREFIX,
    Finding,
    Plan,
    documents,
    fingerprint,
    make_plan,
)
from keyserver.sealing.service_keys.exports import read_document
from tests.support.imicros import MASTER, UNLISTED, answers, database, planned

IDS = [f"{n:08x}-aaaa-4000-8000-000000000000" for n in range(5)]


def value(number: int, **changed: object) -> str:
    content = {"guid": IDS[number], "key": f"{number:02x}" * 32, "iat": 1000 + number, "exp": 5000}
    return base64.b64encode(json.dumps(content | changed).encode()).decode()


def one_pair(fields: Mapping[str, str], owner: str = "o", service: str = "s") -> Database:
    return Database({"owners": [owner], owner: [service]}, {hash_name(owner, service): fields})


def problems(plan: Plan) -> list[tuple[str, str]]:
    return [(finding.where, finding.problem) for finding in plan.findings]


def read(fields: Mapping[str, str]) -> Plan:
    return make_plan(one_pair(fields), MASTER, [])


def ids(plan: Plan) -> list[str]:
    return [key.version.key_id for pair in plan.pairs for key in pair.keys]


def test_keys_go_by_time_and_the_current_one_comes_last() -> None:
    plan = read(
        {
            IDS[2]: value(2),
            IDS[0]: value(0),
            IDS[1]: value(1),
            "default": value(0),
        }
    )
    assert ids(plan) == [IDS[1], IDS[2], IDS[0]]
    (pair,) = plan.pairs
    version = pair.keys[-1].version
    assert (version.seq, version.created_at, version.expires_at) == (3, 1000, 5000)
    assert (version.origin, version.pair) == ("imicros", ("imicros:o", "s"))
    assert plan.findings == ()
    assert plan.keys == 3


ODD_VALUES = {
    "no base64": ("!", "is not JSON in base64"),
    "no JSON": (base64.b64encode(b"x").decode(), "is not JSON in base64"),
    "no object": (base64.b64encode(b"[]").decode(), "does not have guid"),
    "no key": (base64.b64encode(b'{"guid":"","iat":1,"exp":2}').decode(), "does not have guid"),
    "another id": (value(2), "the id inside is another one"),
    "no id": (value(1, guid="x"), "its id is no UUID"),
    "an id in upper case": (value(1, guid=IDS[1].upper()), "no UUID in lower case"),
    "an id that is no text": (value(1, guid=7), "its id is no UUID"),
    "a short key": (value(1, key="ab"), "its key is not 64"),
    "a key that is no text": (value(1, key=5), "its key is not 64"),
    "a time that is no number": (value(1, iat="now"), "its times"),
    "a time before 1970": (value(1, iat=-1), "its times"),
    "a fraction of a millisecond": (value(1, exp=1.5), "its times"),
    "a switch for a time": (value(1, exp=True), "its times"),
}


@pytest.mark.parametrize(("stored", "problem"), ODD_VALUES.values(), ids=ODD_VALUES)
def test_an_odd_value_is_listed_and_the_others_come_over(stored: str, problem: str) -> None:
    plan = read({IDS[0]: value(0), IDS[1]: stored, "default": value(0)})
    assert ids(plan) == [IDS[0]]
    ((where, why),) = problems(plan)
    assert where == f"owner 'o', service 's', key {IDS[1]!r}"
    assert problem in why


ODD_DEFAULTS = {
    "none": (None, "has no current key"),
    "no value": ("!", "is not JSON in base64"),
    "an id that is not there": (value(3), "is not the same"),
    "another key under the id": (value(0, key="ff" * 32), "is not the same"),
    "a prolonged one": (value(0, exp=9999), "is not the same"),
}


@pytest.mark.parametrize(("stored", "problem"), ODD_DEFAULTS.values(), ids=ODD_DEFAULTS)
def test_an_odd_default_is_listed(stored: str | None, problem: str) -> None:
    fields = {IDS[0]: value(0), IDS[1]: value(1)}
    plan = read(fields if stored is None else fields | {"default": stored})
    assert ids(plan) == [IDS[0], IDS[1]]
    ((_, why),) = problems(plan)
    assert problem in why
    assert "the newest one becomes it" in why


def test_owners_and_pairs_without_anything() -> None:
    stored = Database(
        {"owners": ["bare", "empty", "list"], "empty": ["s"], "list": ["t"]},
        {},
        {hash_name("list", "t"): "list"},
    )
    plan = make_plan(stored, MASTER, [("named", "u")])
    assert problems(plan) == [
        ("owner 'bare'", "has no set of services"),
        ("owner 'empty', service 's'", "has no keys"),
        ("owner 'list', service 't'", "is no hash but a list"),
        ("owner 'named', service 'u'", "has no keys"),
    ]
    assert plan.pairs == ()


def test_an_owner_whose_name_is_that_of_a_hash() -> None:
    name = hash_name("a", "b~c")
    plan = make_plan(
        database(sets={"owners": ["a", name]}, others={name: "hash"}), MASTER, [UNLISTED]
    )
    assert (f"owner {name!r}", "is no set but a hash") in problems(plan)
    assert [pair.owner for pair in plan.pairs] == ["a", "a~b"]


def test_the_set_of_owners_is_another_type() -> None:
    plan = make_plan(Database({}, {}, {"owners": "string"}), MASTER, [])
    assert problems(plan) == [("'owners'", "is no set but a string")]


def test_an_owner_named_owners_has_its_services_among_the_owners() -> None:
    stored = Database(
        {"owners": ["o", "owners", "s"], "o": ["s"]},
        {
            hash_name("o", "s"): {IDS[0]: value(0), "default": value(0)},
            hash_name("owners", "s"): {IDS[1]: value(1), "default": value(1)},
        },
    )
    plan = make_plan(stored, MASTER, [])
    assert [(pair.owner, pair.service) for pair in plan.pairs] == [("o", "s"), ("owners", "s")]
    assert (plan.findings, plan.questions) == ((), ())


@pytest.mark.parametrize(
    ("owner", "service"),
    [("o" * 249, "s"), ("o", ""), ("o", "a\nb"), ("o\x7f", "s"), ("\ud800", "s")],
)
def test_names_that_cannot_be_stored_here_are_listed(owner: str, service: str) -> None:
    stored = one_pair({IDS[0]: value(0), "default": value(0)}, owner, service)
    plan = make_plan(stored, MASTER, [])
    assert plan.pairs == ()
    ((where, why),) = problems(plan)
    assert repr(owner) in where
    assert "cannot be stored here" in why


def test_a_hash_whose_pair_is_in_no_set_is_asked_about() -> None:
    stored = Database({"owners": []}, {hash_name("o", "s"): {}, "hello": {}, "aGVsbG8=": {}})
    (question,) = make_plan(stored, MASTER, []).questions
    assert (question.name, question.pairs) == (hash_name("o", "s"), (("o", "s"),))


def test_a_name_too_long_for_any_pair_is_not_cut() -> None:
    """The texts of all pairs would be as long as the name squared."""
    name = hash_name("~" * 30_000, "")
    (question,) = make_plan(Database({"owners": []}, {name: {}}), MASTER, []).questions
    assert (question.name, question.pairs) == (name, ())


def test_the_longest_names_are_asked_about() -> None:
    longest = (248 * "o", 256 * "s")
    hashes: dict[str, dict[str, str]] = {hash_name(*longest): {}}
    plan = make_plan(Database({"owners": []}, hashes), MASTER, [])
    assert [question.pairs for question in plan.questions] == [(longest,)]
    too_long = (longest[0] + "o", longest[1])
    hashes = {hash_name(*too_long): {}}
    plan = make_plan(Database({"owners": []}, hashes), MASTER, [])
    assert [question.pairs for question in plan.questions] == [()]
    plan = make_plan(Database({"owners": []}, hashes), MASTER, [too_long])
    assert plan.questions == ()
    ((_, problem),) = problems(plan)
    assert problem.startswith("cannot be stored here: owner: ")


def test_a_named_pair_that_is_listed_comes_over_once() -> None:
    plan = make_plan(database(), MASTER, [("g1", "my.service"), UNLISTED, UNLISTED])
    assert planned(plan) == answers()
    assert len(plan.pairs) == 5


def test_documents_can_be_restored() -> None:
    plan = make_plan(database(), MASTER, [UNLISTED])
    found: dict[tuple[str, str, str], str] = {}
    for owner, document in documents(plan, 7, limit=2):
        content: Any = json.loads(document)
        assert content["exported_at"] == 7
        assert 1 <= len(content["keys"]) <= 2
        for key in read_document(owner, content):
            version = key.version
            place = (owner.removeprefix(PREFIX), version.pair.service, version.key_id)
            found[place] = key.key.expose().hex()
    assert found == answers()


def test_fingerprints() -> None:
    plan = make_plan(database(), MASTER, [])
    key = plan.pairs[0].keys[0].key
    assert fingerprint(key) == hashlib.sha256(key.expose()).hexdigest()[:8]


def test_a_dump_is_read_as_it_was_written() -> None:
    stored = database(others={"x": "string"})
    assert parse_dump(stored.to_json()) == stored
    assert Finding("a", "b") == Finding("a", "b")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "JSON object"),
        ('{"kind":"other"}', "of kind"),
        ('{"format":2}', "of kind"),
        ('{"sets":[]}', "`sets`"),
        ('{"sets":{"owners":[1]}}', "`sets`"),
        ('{"sets":{"owners":"ab"}}', "`sets`"),
        ('{"hashes":{"x":["y"]}}', "`hashes`"),
        ('{"hashes":{"x":{"y":1}}}', "`hashes`"),
        ('{"others":{"x":1}}', "`others`"),
        ("{}", "no set `owners`"),
    ],
)
def test_texts_that_are_no_dumps(text: str, problem: str) -> None:
    with pytest.raises(DumpError, match=problem):
        parse_dump(text)
