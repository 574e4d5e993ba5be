"""Stand-ins for parts that are needed before they can be made.

The engine tells its outcomes to the task queue, whose handlers ask the engine; the engine's access
policy looks at the chain's tip, which the watcher provides, whose observers use the engine; the
engine has orders of migrations judged by the driver that gives such orders to the engine. Each
circle is cut at its narrowest place by one of these.
"""

from keyserver.chain.migration_sessions import MigrationJudge, MigrationSessions
from keyserver.chain.ports import ChainTip, ChainView
from keyserver.engine.outcomes import Outcome, OutcomeListener
from keyserver.model.set_change import CompletedChange, MigrationOrder, SetChange

NOT_STARTED = ChainView(None, None, "the node is starting")


class LateOutcomes:
    """An `OutcomeListener` that passes on to one that is set later.

    Without a chain there never is one: then nobody is owed an answer.
    """

    def __init__(self) -> None:
        self.listener: OutcomeListener | None = None

    def on_outcome(self, outcome: Outcome) -> None:
        """Pass on."""
        if self.listener is not None:
            self.listener.on_outcome(outcome)


class LateTip:
    """A `ChainTip` that is set later, before anything runs."""

    def __init__(self) -> None:
        self.source: ChainTip | None = None

    @property
    def view(self) -> ChainView:
        """The source's view; nothing is to be trusted before there is one."""
        return NOT_STARTED if self.source is None else self.source.view

    async def next_evaluation(self) -> None:
        """Wait for the source's next evaluation."""
        assert self.source is not None, "the tip is set before anything runs"
        await self.source.next_evaluation()


class LateMigrations:
    """Sends orders of migrations, and word of completed changes, to parts that are set later."""

    def __init__(self) -> None:
        self.judging: MigrationJudge | None = None
        self.sessions: MigrationSessions | None = None

    async def judge(self, order: MigrationOrder) -> SetChange:
        """As `MigrationJudge.judge`."""
        assert self.judging is not None, "the judge is set before anything runs"
        return await self.judging.judge(order)

    def on_completed(self, change: CompletedChange) -> None:
        """A change is on this node's disk."""
        assert self.sessions is not None, "the sessions are set before anything runs"
        self.sessions.on_completed(change)
