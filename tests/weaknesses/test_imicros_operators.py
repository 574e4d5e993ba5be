"""What imicros-keys lets happen around its operators (sealing, A7 and B), and what this does.

Each test is named after its row; the number of the finding stands in the docstring.
"""

import asyncio
import json
from pathlib import Path
from typing import get_type_hints

import pytest
from structlog.testing import capture_logs

from keyserver.api.refusals import MOST_OF_ONE
from keyserver.cli import seal, seal_rekey
from keyserver.cli.main import main
from keyserver.cli.output import USAGE
from keyserver.cli.unseal_daemon import unseal_daemon
from tests.support.operator_shares import words_of
from tests.support.raw_http import Answer
from tests.support.seal_desk import ADMIN, STRANGER, SealDesk, fields, refusal, unchanged

ORDERS = [
    ("DELETE", "unseal", None),
    ("POST", "seal", None),
    ("POST", "rotate", None),
    ("POST", "rewrap", None),
    ("POST", "rekey", {"threshold": 2, "shares": 3}),
]


@pytest.fixture(autouse=True)
def _this_process_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in it: it is not theirs."""
    monkeypatch.setattr("keyserver.app.memory.forbid_dumps", lambda: None)
    monkeypatch.setattr("keyserver.app.logging.configure", lambda: None)


async def started(*, is_open: bool = False) -> SealDesk:
    desk = await SealDesk(admins=[ADMIN]).started()
    return await desk.open() if is_open else desk


def bad_share(desk: SealDesk) -> str:
    """A share mistyped in one word: imicros-keys finds that out when all are there, if at all."""
    words = words_of(desk.shares[0]).split()
    return " ".join([*words[:5], words[6], words[5], *words[7:]])


async def test_one_person_with_one_bad_share() -> None:
    """B4: there, a wrong third share leaves the node "unsealed", without keys, until a restart."""
    desk = await started()
    await desk.give(desk.shares[0])
    for _ in range(3 * MOST_OF_ONE):
        with unchanged(desk):
            assert (await desk.give(bad_share(desk))).status in (400, 429)
    answer = fields(await desk.give(desk.shares[1]))
    assert (answer["accepted"], answer["sealed"]) == (True, False)
    assert fields(await desk.ask("GET", "status"))["state"] == "unsealed"


async def test_no_reset_is_open_to_strangers() -> None:
    """C6.2: no bad share can get in, so there is nothing that anybody would have to clear."""
    desk = await started()
    await desk.give(desk.shares[0])
    for method, path, body in [
        ("DELETE", "unseal", None),
        ("POST", "unseal", {"reset": True}),
        ("POST", "unseal", {"share": "", "reset": True}),
        ("POST", "unseal", {"withdraw": True, "share": words_of(desk.shares[1])}),
        ("PUT", "unseal", {}),
        ("POST", "reset", {}),
    ]:
        with unchanged(desk):
            assert (await desk.ask(method, path, body)).status in (200, 400, 401, 404, 405)
    assert fields(await desk.ask("GET", "status"))["progress"] == 1


async def test_there_is_no_token_that_opens_all() -> None:
    """B2: there, one text guards everything, is compared in variable time and sent every time."""
    desk = await started(is_open=True)
    for credential in ("", "token", "Bearer token", "Bearer " + "a" * 60, "Basic dG9rZW46"):
        for method, path, body in ORDERS:
            with unchanged(desk):
                answer = await desk.ask(method, path, body, headers=[("authorization", credential)])
            assert answer.status == 401, (path, credential)


async def test_an_overheard_order_cannot_be_given_again() -> None:
    """B2: there, whoever sees one call has the token for all calls to come."""
    desk = await started(is_open=True)
    signed = desk.signed(ADMIN, "POST", "/v1/seal/rotate")
    header = [("authorization", signed)]
    assert (await desk.ask("POST", "rotate", headers=header)).status == 200
    for method, path, body in ORDERS:
        with unchanged(desk):
            answer = await desk.ask(method, path, body, headers=header)
        assert answer.status in (401, 403), path


async def test_init_setVerifyHash_and_getMasterKey_are_no_requests() -> None:  # noqa: N802
    """A2, B3, B6: shares are made on the machine, nothing is verified by what a caller brings."""
    desk = await started(is_open=True)
    for path in ("init", "setVerifyHash", "verify-hash", "getMasterKey", "master-key", "key"):
        for method in ("GET", "POST"):
            answer = await desk.ask(method, path, {"token": "x"}, key=ADMIN)
            assert answer.status == 404, path


async def test_the_third_share_of_a_node_is_not_passed_on() -> None:
    """B2: there, a share with another `nodeID` is sent through the message bus in the clear."""
    desk = await started()
    with unchanged(desk):
        answer = await desk.ask(
            "POST", "unseal", {"share": desk.shares[0], "nodeID": "other", "node": "other"}
        )
    assert refusal(answer) == (400, "BAD_REQUEST")


async def test_a_flood_of_guesses_keeps_no_operator_out() -> None:
    """B16: neither limit nor log there; a limit of our own must not lock people out."""
    desk = await started()
    for number in range(300):
        await desk.give(bad_share(desk), client=f"198.51.100.{number % 250}")
    assert refusal(await desk.give(bad_share(desk))) == (429, "RATE_LIMITED")
    for share in desk.shares[:2]:
        answer = await desk.give(share)
    assert fields(answer)["sealed"] is False
    assert desk.audit.actions().count("seal.unseal.share") <= 102


# --- secrets in places where others see them ----------------------------------------------------


def test_no_secret_is_an_argument() -> None:
    """B17, B20: there, shares and keys stand in the environment or in arguments.

    No option takes a share, a key or a password itself: all of them are files, or are asked.
    """
    functions = [
        command.callback
        for app in (seal.app, seal_rekey.app)
        for command in app.registered_commands
        if command.callback is not None
    ]
    assert len(functions) == 13
    texts = {
        name
        for function in [*functions, seal_rekey.rekey, unseal_daemon]
        for name, kind in get_type_hints(function).items()
        if name != "return" and kind in (str, str | None, list[str] | None)
    }
    assert texts == {"url", "urls", "node_id", "recipients", "rekey_id"}


def test_a_share_among_the_arguments_is_refused() -> None:
    """B20: whoever tries learns at once that shares do not belong there."""
    desk = asyncio.run(started())
    words = words_of(desk.shares[0])
    assert main(["seal", "unseal", words]) == USAGE
    assert main(["seal", "unseal", *words.split()]) == USAGE
    assert main(["seal", "unseal", "--share", words]) == USAGE


def test_the_environment_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """B20: `SHARE` of the daemon there."""
    desk = asyncio.run(started())
    for name in ("SHARE", "KEYSERVER_SHARE", "MASTER_TOKEN", "MASTER_KEY"):
        monkeypatch.setenv(name, words_of(desk.shares[0]))
    config = tmp_path / "daemon.toml"
    config.write_text('[[nodes]]\nurl = "http://127.0.0.1:1"\n')
    assert main(["unseal-daemon", "--config", str(config)]) == USAGE
    assert "share_file" in capsys.readouterr().err


async def test_nothing_that_comes_in_is_told_again() -> None:
    """B17: there, the one-time token is logged; here neither log, audit nor answers repeat it."""
    desk = await started()
    secrets = [word for share in desk.shares for word in (share, words_of(share))]
    answers: list[Answer] = []
    with capture_logs() as log:
        given = [bad_share(desk), desk.shares[0], desk.shares[0], desk.shares[1]]
        answers += [await desk.give(share) for share in given]
        signed = desk.signed(STRANGER, "POST", "/v1/seal/rotate")
        for header in (signed, signed[:-8], f"Bearer {words_of(desk.shares[0])}"):
            header_line = [("authorization", header)]
            answers.append(await desk.ask("POST", "rotate", headers=header_line))
        desk.store.fails = True
        answers.append(await desk.ask("POST", "rotate", key=ADMIN))
    secrets += [bad_share(desk), signed, signed.partition("sig=0x")[2]]
    told = json.dumps(log) + repr(desk.audit.entries) + repr(desk.vault)
    told += "".join(answer.text for answer in answers)
    for secret in secrets:
        assert secret not in told
        assert secret[:40] not in told
