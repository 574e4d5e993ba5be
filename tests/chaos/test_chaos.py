"""A short run: every kind of fault at least once, and nothing lost, doubled or stuck.

The long one is `make chaos`.
"""

from pathlib import Path

import pytest

from keyserver.devnet.anvil import find_anvil
from keyserver.errors import ConfigError
from tests.chaos.run import Options, run
from tests.chaos.schedule import EVERY_NAME

SHORT = Options(
    requests=40, seed=1, fault_seconds=65.0, gap_s=1.7, retry_blocks=10, gives_up_after_s=400.0
)


@pytest.fixture(autouse=True)
def _needs_anvil() -> None:
    try:
        find_anvil()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.anvil
@pytest.mark.timeout(900)
async def test_requests_are_served_while_everything_fails(tmp_path: Path) -> None:
    report = await run(SHORT, tmp_path, print)
    print(report.as_text())
    assert report.violations == []
    assert report.figures["faults"].keys() == EVERY_NAME
