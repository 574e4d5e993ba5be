"""How sessions look in the log and in the metrics."""

import structlog

from keyserver.engine.ports import SessionObserver
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


def log_end(session: LiveSession, outcome: Completed | Failed) -> None:
    """Log how a session has ended, and louder why this node has not got what it wanted."""
    log_session(session, "session_ended", outcome=outcome_name(outcome))
    if isinstance(outcome, Failed) and session.result is not None:
        error, key_id = outcome.error, session.subject[1]
        log.info("session_failed", key_id=key_id, code=error.code, why=str(error))


def observe(
    observer: SessionObserver, session: LiveSession, outcome: Completed | Failed, now: float
) -> None:
    """Tell the metrics how a session that has begun ended; `now`: monotonic seconds."""
    assert session.runner is not None
    name, role = session.runner.session_type.name, session.key[1].value
    observer.on_session(name, role, outcome_name(outcome), now - session.opened_at)


def outcome_name(outcome: Completed | Failed) -> str:
    """ "completed", or the error's code."""
    return "completed" if isinstance(outcome, Completed) else outcome.error.code
