"""Signatures as operators are told of them."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from keyserver.api.facts import SigningFacts, Trouble
from keyserver.app.signing_facts import (
    SigningMetrics,
    measure_signing,
    signing_facts,
    signing_troubles,
)
from keyserver.engine.signing_counts import SigningCounts, SigningOutcome
from keyserver.model.requests import SigningScheme


def signing(**counts: Any) -> Any:
    return SimpleNamespace(counts=SigningCounts(**counts), ready=3)


SIGNED = Counter(
    {
        (SigningScheme.ECDSA, SigningOutcome.MADE): 5,
        (SigningScheme.ECDSA, SigningOutcome.DENIED): 2,
        (SigningScheme.FROST, SigningOutcome.UNAVAILABLE): 1,
    }
)


def test_metrics() -> None:
    registry = CollectorRegistry()
    told = signing(signatures=SIGNED, presigned=9, presigning_failed=4)
    measure_signing(SigningMetrics(registry), told)
    lines = generate_latest(registry).decode().splitlines()
    assert 'keyserver_signatures{outcome="made",scheme="ecdsa"} 5.0' in lines
    assert 'keyserver_signatures{outcome="denied",scheme="ecdsa"} 2.0' in lines
    assert 'keyserver_signatures{outcome="unavailable",scheme="frost"} 1.0' in lines
    assert 'keyserver_signatures{outcome="broken_off",scheme="schnorr"} 0.0' in lines
    assert "keyserver_presignatures 3.0" in lines
    assert 'keyserver_presignings{outcome="done"} 9.0' in lines
    assert 'keyserver_presignings{outcome="failed"} 4.0' in lines


def test_what_the_status_tells() -> None:
    made = {"schnorr": 0, "frost": 0, "ecdsa": 5}
    assert signing_facts(signing(signatures=SIGNED)) == SigningFacts(made, 3)


def test_what_is_wrong_is_a_warning() -> None:
    assert signing_troubles(signing(presigning_failed=4)) == ()
    text = "presignatures cannot be made in advance: a signer is silent"
    expected = (Trouble("presigning_failed", text),)
    assert signing_troubles(signing(last_failure="a signer is silent")) == expected
