"""Signatures as operators are told of them: numbers, and what is wrong."""

from prometheus_client import CollectorRegistry, Gauge

from keyserver.api.facts import SigningFacts, Trouble
from keyserver.engine.signing import Signing
from keyserver.engine.signing_counts import SigningOutcome
from keyserver.model.requests import SigningScheme


class SigningMetrics:
    """The gauges; they are set when somebody looks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.signatures = Gauge(
            "keyserver_signatures",
            "Signatures that this node was asked for since it started, by scheme and outcome",
            ["scheme", "outcome"],
            registry=registry,
        )
        self.presignatures = Gauge(
            "keyserver_presignatures",
            "Prepared ECDSA signatures of this node's that nobody has signed with yet",
            registry=registry,
        )
        self.presigned = Gauge(
            "keyserver_presignings",
            "Preparations of ECDSA signatures by this node since it started, by outcome",
            ["outcome"],
            registry=registry,
        )


def measure_signing(metrics: SigningMetrics, signing: Signing) -> None:
    """Set all gauges."""
    counts = signing.counts
    for scheme in SigningScheme:
        for outcome in SigningOutcome:
            number = counts.signatures[scheme, outcome]
            metrics.signatures.labels(scheme.name.lower(), outcome.value).set(number)
    metrics.presignatures.set(signing.ready)
    metrics.presigned.labels("done").set(counts.presigned)
    metrics.presigned.labels("failed").set(counts.presigning_failed)


def signing_facts(signing: Signing) -> SigningFacts:
    """What a node's status tells."""
    made = {
        scheme.name.lower(): signing.counts.signatures[scheme, SigningOutcome.MADE]
        for scheme in SigningScheme
    }
    return SigningFacts(made, signing.ready)


def signing_troubles(signing: Signing) -> tuple[Trouble, ...]:
    """What wants the operator's attention."""
    failure = signing.counts.last_failure
    if failure is None:
        return ()
    return (Trouble("presigning_failed", f"presignatures cannot be made in advance: {failure}"),)
