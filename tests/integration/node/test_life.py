"""A node as a process: started, looked at, stopped, started again."""

import json
import signal
import sqlite3
import subprocess
import sys
from typing import Any

from keyserver.devnet.local_chain import start_embedded
from keyserver.model.identifiers import NodeId
from tests.support.certificates import write_certificate
from tests.support.chain_network import CHAIN_ID, Network
from tests.support.node_processes import STOP_S, ConfiguredNode, kill_all, start_all
from tests.support.ports import free_port
from tests.support.waiting import wait_for
from tests.support.wire import request


def cli(*arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "keyserver.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def codes(troubles: list[dict[str, str]]) -> set[str]:
    return {trouble["code"] for trouble in troubles}


def test_ready_status_stop_and_start_again(network: Network, node: ConfiguredNode) -> None:
    node.start()
    ready = node.wait_ready()
    assert ready["node_id"] == f"0x{node.id.hex()}"
    assert ready["peer"] == f"127.0.0.1:{node.port}"
    starting = node.wait_event("node_starting")
    assert starting["text"] == f"Starting SecretStore node: 0x{node.id.hex()}"

    status, live = node.operator("/health/live")
    assert (status, live) == (200, {"live": True})
    status, body = node.operator("/health/ready")  # its two peers do not run
    assert (status, codes(body["reasons"])) == (503, {"no_quorum"})
    _, facts = node.operator("/v1/status")
    assert facts["chain"]["chain_id"] == CHAIN_ID
    assert facts["chain"]["problem"] is None
    assert facts["chain"]["contracts"]["service_contract"] == f"0x{network.service.hex()}"
    assert [peer["state"] for peer in facts["node_set"]["nodes"]].count("self") == 1
    assert len(facts["node_set"]["nodes"]) == 3
    assert facts["keys"] == 0

    code, took = node.stop()
    assert code == 0
    assert took < STOP_S
    names = [event["event"] for event in node.events()]
    assert names[-1] == "node_stopped"
    node.start()
    node.wait_ready()
    assert not [e for e in node.events() if e["event"] == "store_sealed"], "it was sealed before"
    assert node.stop()[0] == 0


def test_interrupt_stops_it_as_well(node: ConfiguredNode) -> None:
    node.start()
    node.wait_ready()
    node.process.send_signal(signal.SIGINT)
    assert node.wait_stopped() == 0


def test_metrics_tell_of_the_chain(node: ConfiguredNode) -> None:
    node.start()
    url = node.wait_ready()["operator"]
    answer = request(url, "GET", "/metrics")
    assert answer.status == 200
    lines = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if line[0] != "#")
    assert float(lines["keyserver_head_block"]) > 0
    assert float(lines["keyserver_balance_wei"]) > 0
    assert float(lines['keyserver_peers{state="disconnected"}']) == 2
    assert float(lines['keyserver_chain_calls_total{method="eth_chainId"}']) >= 1


def test_one_line_of_json_when_it_is_ready(node: ConfiguredNode) -> None:
    node.write_config()
    command = [sys.executable, "-m", "keyserver.cli", "run", "--json", "-c", str(node.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        try:
            facts = json.loads(running.stdout.readline())
            assert facts["pid"] == running.pid
            assert facts["operator"].startswith("http://127.0.0.1:")
        finally:
            running.terminate()
        assert running.wait(STOP_S) == 0
        assert running.stdout.read() == b""


def test_operator_on_a_unix_socket(node: ConfiguredNode) -> None:
    path = node.directory / "op.sock"
    node.set("keyserver", operator_listen=f"unix:{path}")
    node.start()
    node.wait_ready()
    assert path.stat().st_mode & 0o777 == 0o600
    code, out, err = cli("status", "--config", str(node.config), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["node_id"] == f"0x{node.id.hex()}"
    node.kill()  # leaves the socket behind
    assert path.exists()
    node.start()
    node.wait_ready()
    assert cli("status", "--url", f"unix:{path}")[0] == 0
    node.stop()
    assert not path.exists()
    code, _, err = cli("status", "--path", str(node.data))
    assert code == 3
    assert "operator.json is not there: no node runs" in err


def test_a_killed_node_is_told_from_one_that_never_was(node: ConfiguredNode) -> None:
    node.start()
    node.wait_ready()
    node.kill()
    code, _, err = cli("status", "--path", str(node.data))
    assert code == 3
    assert "no answer from the node at http://127.0.0.1:" in err
    assert "Traceback" not in err


def test_operator_listener_with_a_certificate(node: ConfiguredNode) -> None:
    certificate, key = node.directory / "cert.pem", node.directory / "key.pem"
    node.directory.mkdir()
    write_certificate(certificate, key)
    listen = {"operator_listen": "0.0.0.0:0", "tls_cert": str(certificate), "tls_key": str(key)}
    node.set("keyserver", **listen)
    node.start()
    url = node.wait_ready()["operator"]
    assert url.startswith("https://")
    code, out, err = cli("status", "--path", str(node.data), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["node_id"] == f"0x{node.id.hex()}"
    code, _, err = cli("status", "--url", url)  # nobody else vouches for this certificate
    assert code == 3
    assert "certificate" in err


def test_operator_takes_a_free_port_when_the_usual_one_is_taken(node: ConfiguredNode) -> None:
    node.values["keyserver"].pop("operator_listen")
    # The usual port is wanted by the node's own peer listener, which the configuration sees.
    node.set("secretstore", port=8090, interface="127.0.0.9")
    node.start()
    assert not node.wait_ready()["operator"].endswith(":8090")


def test_a_chain_that_comes_later(network: Network, node: ConfiguredNode) -> None:
    """An unreachable chain does not stop the start; the node waits until it is there."""
    port = free_port()
    node.set("keyserver", rpc_endpoints=[f"http://127.0.0.1:{port}"])
    node.start()
    node.wait_event("chain_trouble")
    status, body = node.operator("/health/ready")
    assert status == 503
    assert "chain" in codes(body["reasons"])
    assert not node.ready_file.exists()
    chain = start_embedded(chain_id=CHAIN_ID, port=port, block_time_s=0.5)
    try:
        node.wait_ready()
        node.wait_event("chain_contract_missing")  # it is an empty chain
    finally:
        chain.stop()


def test_a_chain_with_another_id(node: ConfiguredNode) -> None:
    node.set("keyserver", chain_id=CHAIN_ID + 1)
    node.start()
    trouble = node.wait_event("chain_trouble")
    assert str(CHAIN_ID) in trouble["error"]
    assert str(CHAIN_ID + 1) in trouble["error"]
    status, body = node.operator("/health/ready")
    assert status == 503
    (reason,) = [each for each in body["reasons"] if each["code"] == "chain"]
    assert str(CHAIN_ID + 1) in reason["text"]
    code, took = node.stop()
    assert code == 0
    assert took < STOP_S


def test_without_an_endpoint_it_starts_and_says_so_once(node: ConfiguredNode) -> None:
    for name in ("rpc_endpoints", "chain_id"):
        node.values["keyserver"].pop(name)
    node.start()
    node.wait_ready()
    missing = [e for e in node.events() if e["event"] == "chain_endpoint_missing"]
    assert len(missing) == 1
    assert "service_contract" in missing[0]["text"]
    status, body = node.operator("/health/ready")
    assert status == 503
    assert codes(body["reasons"]) == {"chain", "isolated", "node_set_stale"}
    assert node.operator("/v1/drain", "POST")[0] == 503
    assert node.operator("/v1/requests") == (200, {"requests": []})


def test_a_cluster_of_one_without_a_chain_is_ready(node: ConfiguredNode) -> None:
    node.set(
        "secretstore", server_set_contract="none", acl_contract="none", service_contract="none"
    )
    node.start()
    node.wait_ready()
    assert node.operator("/health/ready") == (200, {"ready": True, "reasons": []})
    _, facts = node.operator("/v1/status")
    assert facts["chain"] is None


def test_a_corrupt_key_is_had_again(network: Network, node: ConfiguredNode) -> None:
    """A row that cannot be used is as good as none: the other nodes have what is needed."""
    alone = NodeId.of(node.secret.public())
    assert alone == node.id
    good, bad = bytes([1]) * 32, bytes([2]) * 32
    members = [node, *(network.fresh_node(n, node.directory / str(n)) for n in (1, 2))]
    try:
        start_all(members)
        for key_id in (good, bad):
            network.request("generateServerKey", key_id, 1)

        def both() -> Any:
            return len(network.logs("ServerKeyGenerated")) == 2 or None

        wait_for(both, timeout_s=60, doing="generation")
        assert node.stop()[0] == 0
        with sqlite3.connect(node.data / "keyserver.sqlite") as database:
            changed = database.execute(
                "UPDATE key_shares SET share_box = ? WHERE key_id = ?", (b"\x01" * 60, bad)
            )
            assert changed.rowcount == 1
            changed = database.execute(
                "UPDATE key_records SET certified = ? WHERE key_id = ?", (b"\x01" * 60, bad)
            )
            assert changed.rowcount == 1
        node.start()
        node.wait_ready()

        def had_again() -> bool | None:
            code, out, _ = cli("keys", "show", bad.hex(), "--config", str(node.config), "--json")
            return (code == 0 and json.loads(out)["share"] == "held") or None

        wait_for(had_again, timeout_s=60, doing="share addition")
        code, out, _ = cli("keys", "show", good.hex(), "--config", str(node.config), "--json")
        assert (code, json.loads(out)["share"]) == (0, "held")
        network.request("retrieveServerKey", good)
        network.wait_log("ServerKeyRetrieved(bytes32,bytes,uint256)")
        wait_until_answered(node)
    finally:
        kill_all(members)


def wait_until_answered(node: ConfiguredNode) -> None:
    """Its own answer is in the chain."""

    def answered() -> bool | None:
        _, facts = node.operator("/v1/status")
        return facts["answers"].get("confirmed", 0) >= 3 or None

    wait_for(answered, timeout_s=60, doing="its third answer")
