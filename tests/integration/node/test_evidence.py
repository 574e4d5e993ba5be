"""What an operator sees of a node that was caught: all parts of a node, but no connections."""

import asyncio
from pathlib import Path

from keyserver.app.accounts import NodeKey
from keyserver.app.clock import SystemClock
from keyserver.app.compose import Node, compose
from keyserver.app.store import opened_store
from keyserver.app.view import OperatorView
from keyserver.crypto.randomness import SystemRandom
from keyserver.engine.blame import AVOIDED_S
from keyserver.sessions.conviction import report_of
from keyserver.sessions.evidence import evidence_hash
from tests.support.evidence import samples
from tests.unit.app.samples import SECRETS, load_text, node_id, secret

SAMPLE = samples()["wrong share"]


async def test_status_metrics_and_records_tell_of_it_also_after_a_restart(tmp_path: Path) -> None:
    text = f'[secretstore]\nself_secret = "{SECRETS["a"]}"\npath = "{tmp_path}"\n'
    text += 'acl_contract = "none"\nserver_set_contract = "none"\n'
    loaded = load_text(tmp_path, text)
    key, clock, random = NodeKey(secret("a"), node_id("a")), SystemClock(), SystemRandom()
    report = report_of(SAMPLE.evidence)
    for is_news in (True, False):
        async with opened_store(loaded, key.node_id, random=random, clock=clock) as store:
            node = compose(loaded, key, store, clock=clock, random=random)
            running = asyncio.ensure_future(node.catalogue.run())
            if is_news:
                node.catalogue.on_report(report)
            await _until_kept(node)
            await _check(OperatorView(node, []), is_news=is_news)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _until_kept(node: Node) -> None:
    async with asyncio.timeout(20):
        while not (node.catalogue.blame.offences and await node.store.records.offences()):
            await asyncio.sleep(0.01)


async def _check(view: OperatorView, *, is_news: bool) -> None:
    data = report_of(SAMPLE.evidence).evidence
    (avoided,) = (await view.status()).avoided
    assert (avoided.culprit, avoided.rule) == (SAMPLE.culprit, "wrong_share")
    assert avoided.until - avoided.since == AVOIDED_S
    assert list(await view.offences()) == [avoided]
    assert await view.evidence(avoided.evidence) == data
    assert avoided.evidence == evidence_hash(data)
    metrics = (await view.metrics()).decode()
    assert "keyserver_avoided_nodes 1.0" in metrics
    assert ('keyserver_misbehaviour_total{rule="wrong_share"} 1.0' in metrics) is is_news
