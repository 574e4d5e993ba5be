"""What a participant makes of the chain's answer."""

from typing import assert_never

from keyserver.sessions.core import Refusal, Refused, Verdict


def verdict_refusal(verdict: Verdict) -> Refused | None:
    """The refusal that follows from a verdict; `None` if the request is allowed."""
    match verdict:
        case Verdict.ALLOWED:
            return None
        case Verdict.DENIED:
            return Refused(Refusal.DENIED, "the chain does not permit the request")
        case Verdict.UNAVAILABLE:
            return Refused(Refusal.TEMPORARY, "the chain cannot be asked, or does not show it yet")
    assert_never(verdict)
