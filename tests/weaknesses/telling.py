"""Ways to make other nodes take over what an attacker says was decided."""

from keyserver.engine.links import (
    DOCUMENT_FLAG,
    SHARE_FLAG,
    AnyLink,
    CataloguePage,
    CatalogueRequest,
    DecisionRequest,
    Digest,
    DigestRequest,
    Entry,
    KeyFacts,
    Keys,
    KeysRequest,
)
from keyserver.model.identifiers import Hash32
from tests.weaknesses.scene import Scene


async def tell(scene: Scene, facts: KeyFacts) -> None:
    """Push facts to everybody, show them in the catalogue, answer questions with them."""
    intruder = scene.intruder
    for node in scene.honest:
        intruder.send_link(node.id, Keys(0, (facts,)))
    await scene.settle()
    intruder.reply = lambda question: _answer(question, facts)
    for node in scene.honest:
        await node.api.find_record(facts.key_id)
    # every node compares its catalogue with one peer a minute
    await scene.settle(60.0 * 3 * len(scene.cluster.nodes))
    intruder.reply = lambda _: None


def _answer(question: AnyLink, facts: KeyFacts) -> AnyLink | None:
    match question:
        case DigestRequest(number):
            return Digest(number, Hash32(b"\x01" * 32), Hash32(b"\x01" * 32))
        case CatalogueRequest(number, after, _):
            entries = () if facts.record is None or after is not None else (_entry(facts),)
            return CataloguePage(number, entries)
        case KeysRequest(number, wanted):
            return Keys(number, (facts,) if facts.key_id in wanted else ())
        case DecisionRequest(number, subject):
            return Keys(number, (facts,) if facts.key_id == subject.key_id else ())
    return None


def _entry(facts: KeyFacts) -> Entry:
    assert facts.record is not None
    record = facts.record.record
    return Entry(facts.key_id, record.version, record.hash, SHARE_FLAG | DOCUMENT_FLAG)
