"""Attacks on what is written down, printed, and measured: W22, W36, W38, W39."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keyserver.app.config.values import LogTarget
from keyserver.app.logging import configure
from keyserver.crypto import curve
from keyserver.crypto.curve import ORDER, Scalar, SecretScalar
from keyserver.crypto.errors import InvalidScalarError
from keyserver.crypto.randomness import SystemRandom
from keyserver.model.keys import KeyShare
from keyserver.sealing.keyring import Keyring
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sealing.secret_key import SecretKey
from keyserver.sessions.core import DeniedError, UnavailableError
from keyserver.sessions.writes import CastVote, PutPrepared, VoteKind
from keyserver.storage.database import Database
from keyserver.storage.records import SqlRecordStore
from tests.integration.api.test_public_server import served
from tests.support.asgi import call
from tests.support.client_node import sign_id
from tests.support.raw_http import ask
from tests.support.scripted_node import ScriptedNode, ScriptedOperations, app_of
from tests.support.stored_values import boxes
from tests.weaknesses import forge
from tests.weaknesses.asking import path_credential
from tests.weaknesses.by_hand import secret
from tests.weaknesses.scene import KEY, Scene, perform


async def test_w22_shares_are_read_from_a_stolen_database(tmp_path: Path) -> None:
    """A thief copies a node's database and write-ahead log while the node runs, and looks for the
    share; then he opens the database as a node would, with a sealing key of his own."""
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    members = forge.invented(4)
    record = forge.first_record(KEY, forge.set_of(members))
    share = KeyShare(record.committee[0].x, SecretScalar(bytes(range(7, 39))))
    database = await Database.open(url)
    store = SqlRecordStore(database, boxes())
    vote = CastVote(forge.subject_of(record).hash, 0, VoteKind.PREPARE, record.hash)
    await store.commit((vote, PutPrepared(record, share, forge.TRANSCRIPT)))
    files = sorted(tmp_path.iterdir())
    everything = b"".join(path.read_bytes() for path in files)
    exposed = share.value.expose()
    for form in (exposed, exposed.hex().encode(), exposed[::-1], exposed[:16], exposed[16:]):
        assert form not in everything
    assert bytes(KEY) in everything, "the search finds what is there"
    mine = Keyring.first(bytes(range(16)), SecretKey(b"\x66" * 32), 1_700_000_000_000)
    thief = SqlRecordStore(database, SecretBoxes(mine, SystemRandom()))
    prepared = (await thief.load(KEY)).prepared
    await database.close()
    assert prepared is not None
    assert prepared.record == record
    assert prepared.share is None


@contextmanager
def most_talkative() -> Iterator[io.StringIO]:
    """The log of a node whose operator has turned on everything that can be turned on."""
    root, written = logging.getLogger(), io.StringIO()
    before, level = list(root.handlers), root.level
    names = ("", "secretstore", "secretstore_net", "uvicorn", "uvicorn.access", "uvicorn.asgi")
    targets = [LogTarget(name, "trace") for name in names]
    configure(targets=targets, log_format="json", stream=written)
    try:
        yield written
    finally:
        logging.captureWarnings(capture=False)
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)
        root.setLevel(level)
        logging.getLogger("keyserver").setLevel(logging.NOTSET)


async def test_w36_credentials_in_paths_are_looked_for_in_the_log() -> None:
    """The old clients' credential stands in the path. An operator, or whoever reads his logs, looks
    for it there, at the most talkative level, after right, wrong and broken requests."""
    signature = sign_id(secret(2), KEY)
    with most_talkative() as written:
        async with served() as address:
            for path in (
                f"/shadow/{KEY.hex()}/{signature}",
                f"/{KEY.hex()}/{signature}",
                f"/server/{KEY.hex()}/{signature}/more",
                f"/nothing/{KEY.hex()}/{signature}",
                f"/admin/servers_set_change/{signature}/{signature}",
            ):
                for method in ("GET", "POST", "DELETE"):
                    await ask(address, method, path)
        text = written.getvalue()
    assert text.count("http_request") == 15, "every request was logged"
    assert signature[:16] not in text
    assert signature[-16:] not in text
    assert signature[40:56] not in text


async def test_w36_different_errors_look_different() -> None:
    """A client that is told one thing for "not permitted" and for "too few nodes" cannot know
    whether to try again, and an attacker can hide the one behind the other."""
    path = f"/shadow/{KEY.hex()}/{sign_id(secret(2), KEY)}"
    told = set()
    for failure in (
        DeniedError("no", "AccessDenied"),
        DeniedError("no", "ConsensusUnreachable"),
        UnavailableError("later", "ConsensusTemporaryUnreachable"),
        UnavailableError("later", "NodeDisconnected"),
        DeniedError("no", "ServerKeyIsNotFound"),
    ):
        node = ScriptedNode(ScriptedOperations(failure=failure))
        answer = await call(app_of(node), "GET", path)
        told.add((answer.status, answer.text))
        assert answer.status != 200
    assert len(told) == 5


def test_w38_long_term_shares_in_variable_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer measures how long a node's answers take. For that to tell about a share, the share has
    to pass an operation whose time depends on it: everything that is not constant in time takes a
    public `Scalar`, and all of these are taken down during many decryptions."""
    public: set[int] = set()
    make = Scalar.__init__

    def noting(self: Scalar, value: int) -> None:
        public.add(value)
        make(self, value)

    secrets: list[bytes] = []
    masks = curve.mul_secret

    def note_secret(p: Any, k: SecretScalar) -> Any:
        secrets.append(k.expose())
        return masks(p, k)

    async def play(scene: Scene) -> None:
        await scene.own_key()
        monkeypatch.setattr(Scalar, "__init__", noting)
        monkeypatch.setattr("keyserver.crypto.elgamal.mul_secret", note_secret)
        for _ in range(3):
            await scene.retrieve()
        await scene.victim.api.retrieve_plain(KEY, path_credential(scene.user))
        monkeypatch.undo()
        shares = [state.share for state in await scene.states() if state.share is not None]
        for share in shares:
            value = int.from_bytes(share.value.expose(), "big")
            assert not {value, ORDER - value} & public
        assert secrets, "products with secrets were seen"
        assert not {int.from_bytes(one, "big") for one in secrets} & public
        assert len(public) > 20, "and so were public numbers"

    perform(play)


def test_w39_secrets_are_looked_for_in_what_is_printed() -> None:
    """An operator turns on the most talkative log, and a debugger prints every object of a running
    session: node keys, shares, masks and one-time keys are looked for in all of it."""
    printed: list[str] = []
    known: set[bytes] = set()

    def look(scene: Scene) -> None:
        for node in scene.cluster.nodes:
            for session in node.api._driver._table:
                assert session.runner is not None or session.waiting is not None
                for thing in (session, session.runner and session.runner.phase, session.effects):
                    printed.extend((repr(thing), str(thing), f"{thing!a}"))
                phase = session.runner.phase if session.runner else None
                for name in ("one_time", "mask"):
                    held = getattr(phase, name, None)
                    if held is not None:
                        printed.append(f"{held!r} {held}")
                        known.add((held.secret if name == "one_time" else held).expose())

    async def play(scene: Scene) -> None:
        def spy(_: object, message: Any) -> Any:
            look(scene)
            return message

        scene.intruder.rewrite = spy
        await scene.own_key()
        for _ in range(3):
            await scene.retrieve()
        for node in scene.cluster.nodes:
            state = await node.store.load(KEY)
            printed.extend((repr(state), repr(node.store), repr(node._signer), repr(node)))
            assert state.share is not None
            printed.extend((repr(state.share.value), repr(node._signer._secret)))
            known.add(state.share.value.expose())
            known.add(node._signer._secret.expose())

    with most_talkative() as written:
        perform(play)
        logged = written.getvalue()
    text = "".join(printed) + logged
    assert len(known) > 12
    assert logged.count("session_ended") > 20
    assert len(text) > 10_000
    for value in known:
        for form in (value.hex(), repr(value), str(int.from_bytes(value, "big"))):
            assert form not in text
            assert form[4:24] not in text


@pytest.mark.parametrize("number", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_w39_errors_do_not_quote_secrets(number: int) -> None:
    """A secret that is refused must not be told in the refusal."""
    with pytest.raises(InvalidScalarError) as refused:
        SecretScalar(number.to_bytes(32, "big"))
    assert f"{number:064x}" not in str(refused.value)
