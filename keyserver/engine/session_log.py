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
