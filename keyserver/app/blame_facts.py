"""What operators are told about nodes that were caught."""

from collections.abc import Iterable

from keyserver.api.facts import OffenceFacts
from keyserver.engine.blame import AVOIDED_S
from keyserver.engine.ports import Offence
from keyserver.sessions.evidence import RULE_TEXTS, Rule


def offence_facts(offences: Iterable[Offence]) -> tuple[OffenceFacts, ...]:
    """The offences in the order given."""
    return tuple(
        OffenceFacts(
            culprit=offence.culprit,
            address=offence.culprit.address,
            rule=offence.rule,
            what=_sentence(offence.rule),
            key_id=offence.key_id,
            session=offence.session,
            since=offence.first_seen,
            until=offence.first_seen + AVOIDED_S,
            evidence=offence.evidence,
        )
        for offence in offences
    )


def _sentence(rule: str) -> str:
    """The database may have been written by a newer program, with rules of its own."""
    return RULE_TEXTS[Rule(rule)] if rule in set(Rule) else rule
