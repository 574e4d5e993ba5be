"""How sessions look in the log and in the metrics."""

import structlog

from keyserver.engine.session_table import LiveSession
from keyserver.sessions.core import Completed, Failed

log = structlog.get_logger()


def log_session(session: LiveSession, event: str, **more: str) -> None:
    """Log a step in the life of a session that has begun."""
    runner = session.runner
    assert runner is not None
    log.debug(
        event,
        session=session.key[0],
        role=session.key[1].value,
        kind=runner.session_type.name,
        key_id=runner.ctx.request.key_id,
        coordinator=session.coordinator,
        **more,
    )


def outcome_name(outcome: Completed | Failed) -> str:
    """ "completed", or the error's code."""
    return "completed" if isinstance(outcome, Completed) else outcome.error.code
