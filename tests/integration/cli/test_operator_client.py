"""What the operator's commands trust, send and make of answers: on real sockets."""

import json
from pathlib import Path

import pytest

from keyserver.cli import operator_client
from keyserver.cli.operator_client import (
    Answer,
    OperatorClient,
    RefusedError,
    Trust,
    find_operator,
    successful,
)
from keyserver.cli.output import FAILED, SEALED, UNREACHABLE, USAGE, WRONG_SHARE, CommandError
from tests.support.certificates import make_authority, write_certificate
from tests.support.operator_server import Asked, Reply, closed_port, operator_server

SECRET = {"share": "correct horse"}


def fine(asked: Asked) -> Reply:
    return Reply(200, b'{"fine": true}')


def error_reply(status: int, code: str, *headers: tuple[str, str]) -> Reply:
    body = {"error": {"code": code, "message": f"about {code}", "retriable": False}}
    return Reply(status, json.dumps(body).encode(), headers)


def failure(operator: OperatorClient) -> CommandError:
    with pytest.raises(CommandError) as caught:
        operator.post("/v1/seal/unseal", SECRET)
    return caught.value


# --- certificates -----------------------------------------------------------------------------


def test_the_certificate_itself_is_pinned(tmp_path: Path) -> None:
    pinned, key = tmp_path / "node.pem", tmp_path / "node.key"
    write_certificate(pinned, key, "192.0.2.7")  # its names do not matter
    with operator_server(fine, tls=(pinned, key)) as server:
        operator = OperatorClient(server.url, trust=Trust(certificate=pinned))
        assert operator.post("/v1/seal/unseal", SECRET) == {"fine": True}
        assert json.loads(server.asked[0].body) == SECRET


def test_another_certificate_gets_nothing(tmp_path: Path) -> None:
    pinned, other = tmp_path / "node.pem", tmp_path / "other.pem"
    write_certificate(pinned, tmp_path / "node.key")
    write_certificate(other, tmp_path / "other.key")
    with operator_server(fine, tls=(other, tmp_path / "other.key")) as server:
        for trust in (Trust(certificate=pinned), Trust(ca_file=pinned), Trust()):
            error = failure(OperatorClient(server.url, trust=trust))
            assert error.exit_code == UNREACHABLE
            assert "could not be trusted" in str(error)
            assert "--certificate" in str(error)
        assert server.asked == []


def test_a_certificate_by_an_authority(tmp_path: Path) -> None:
    authority, certificate, key = make_authority(tmp_path)
    with operator_server(fine, tls=(certificate, key)) as server:
        by_authority = OperatorClient(server.url, trust=Trust(ca_file=authority))
        assert by_authority.get("/") == {"fine": True}
        itself = OperatorClient(server.url, trust=Trust(certificate=certificate))
        assert itself.get("/") == {"fine": True}
        # who is trusted to issue certificates is not the node itself
        pinned = OperatorClient(server.url, trust=Trust(certificate=authority))
        assert "another certificate" in str(failure(pinned))
        renamed = OperatorClient(
            server.url.replace("127.0.0.1", "localhost"), trust=Trust(ca_file=authority)
        )
        assert "could not be trusted" in str(failure(renamed))
        assert [asked.body for asked in server.asked] == [b"", b""]


def test_files_that_hold_no_certificate(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for trust in (Trust(certificate=empty), Trust(ca_file=empty)):
        error = failure(OperatorClient("https://127.0.0.1:1", trust=trust))
        assert (error.exit_code, "empty.pem" in str(error)) == (USAGE, True)


# --- what is sent, and where ------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1:8090", "http://node.example", "http://[2001:db8::1]"]
)
def test_secrets_do_not_cross_a_network_in_the_clear(url: str) -> None:
    assert failure(OperatorClient(url)).exit_code == USAGE
    with pytest.raises(CommandError, match="without encryption"):
        OperatorClient(url, authorize=lambda *_: "signed").get("/v1/seal/replicas")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with operator_server(fine) as elsewhere:
        moved = Reply(status, b"{}", (("Location", f"{elsewhere.url}/v1/seal/unseal"),))
        with operator_server(lambda _: moved) as server:
            error = failure(OperatorClient(server.url))
        assert (error.exit_code, "redirect" in str(error)) == (UNREACHABLE, True)
        assert elsewhere.asked == []


def test_a_unix_socket(tmp_path: Path) -> None:
    with operator_server(fine, unix=tmp_path / "op.sock") as server:
        assert OperatorClient(server.url).post("/x", SECRET) == {"fine": True}


def test_each_request_is_signed_as_it_is_sent() -> None:
    def authorize(method: str, target: str, body: bytes) -> str:
        return f"{method} {target} {body.decode()}"

    with operator_server(fine) as server:
        operator = OperatorClient(server.url).authorized(authorize)
        operator.post("/v1/a?b=c", {"d": "e"})
        operator.delete("/v1/f")
        operator.at(server.url).get("/v1/g")
        for asked in server.asked:
            text = f"{asked.method} {asked.path} {asked.body.decode()}"
            assert asked.headers["authorization"] == text
        assert [asked.method for asked in server.asked] == ["POST", "DELETE", "GET"]


# --- answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "code", "hint"),
    [
        (error_reply(400, "SHARE_UNKNOWN"), WRONG_SHARE, "never made"),
        (error_reply(400, "SHARE_MALFORMED"), WRONG_SHARE, "word by word"),
        (error_reply(400, "BAD_REQUEST"), USAGE, ""),
        (error_reply(401, "UNAUTHENTICATED"), FAILED, "--admin-key"),
        (error_reply(401, "SIGNATURE_EXPIRED"), FAILED, "clocks"),
        (error_reply(403, "FORBIDDEN"), FAILED, "admins"),
        (error_reply(409, "REKEY_IN_PROGRESS"), FAILED, ""),
        (error_reply(429, "RATE_LIMITED", ("Retry-After", "42")), FAILED, "in 42 s"),
        (error_reply(501, "NOT_INITIALISED"), FAILED, "seal init"),
        (error_reply(503, "STORAGE_UNAVAILABLE", ("Retry-After", "5")), UNREACHABLE, "in 5 s"),
    ],
)
def test_refusals_say_what_to_do(reply: Reply, code: int, hint: str) -> None:
    with operator_server(lambda _: reply) as server:
        error = failure(OperatorClient(server.url))
    assert isinstance(error, RefusedError)
    assert error.exit_code == code
    first, *rest = str(error).splitlines()
    assert first == f"about {error.code}"
    assert hint in "\n".join(rest)


@pytest.mark.parametrize(
    ("text", "hints"),
    [
        ("the node is sealed", ["Unseal it first: `keyserver seal unseal`."]),
        ("the store went back to an earlier state; look why, then restart", []),
    ],
)
def test_a_sealed_node_is_to_be_unsealed_unless_it_says_otherwise(
    text: str, hints: list[str]
) -> None:
    body = {"error": {"code": "SEALED", "message": text, "retriable": True}}
    with pytest.raises(RefusedError) as caught:
        successful(Answer(503, body, retry_after_s=5))
    assert caught.value.exit_code == SEALED
    assert str(caught.value).splitlines() == [text, *hints]


@pytest.mark.parametrize("body", [b"<html>502</html>", b"", b"[]", b'{"error": 1}', b"[" * 10_000])
def test_an_error_that_is_none_of_a_node(body: bytes) -> None:
    with operator_server(lambda _: Reply(502, body)) as server:
        assert "status 502" in str(failure(OperatorClient(server.url)))


def test_what_is_no_listener_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_client, "MAX_ANSWER", 100)
    for body, why in ((b"hello", "not JSON"), (b" " * 101, "too large")):
        with operator_server(lambda _, body=body: Reply(200, body)) as server:  # type: ignore[misc]
            error = failure(OperatorClient(server.url))
        assert (error.exit_code, why in str(error)) == (UNREACHABLE, True)


def test_nobody_there() -> None:
    error = failure(OperatorClient(f"http://127.0.0.1:{closed_port()}"))
    assert (error.exit_code, "keyserver run" in str(error)) == (UNREACHABLE, True)


def test_the_nodes_file_names_its_certificate_and_itself(tmp_path: Path) -> None:
    pinned, key = tmp_path / "node.pem", tmp_path / "node.key"
    write_certificate(pinned, key)
    with operator_server(fine, tls=(pinned, key)) as server:
        facts = {"url": server.url, "tls_cert": str(pinned), "node_id": "0x" + "ab" * 64}
        (tmp_path / "operator.json").write_text(json.dumps(facts))
        operator = find_operator(None, tmp_path, None)
        assert operator.node_id == "ab" * 64
        assert operator.get("/") == {"fine": True}


def test_which_addresses_of_a_list_are_vouched_for(tmp_path: Path) -> None:
    here, there = OperatorClient("http://127.0.0.1:1"), OperatorClient("https://node.example")
    pinned = OperatorClient("https://node.example", trust=Trust(ca_file=tmp_path / "ca.pem"))
    assert here.at("http://127.0.0.1:2").vouched_for(here)
    assert here.at("unix:/run/op.sock").vouched_for(here)
    assert pinned.at("https://other.example").vouched_for(pinned)
    for first, url in [
        (here, "https://other.example"),
        (here, "http://192.0.2.1"),
        (there, "https://other.example"),
        (there, "http://127.0.0.1:2"),
        (pinned, "unix:/run/op.sock"),
        (pinned, "http://127.0.0.1:2"),
    ]:
        assert not first.at(url).vouched_for(first), url
