"""The seal at the start of a process: what opens by itself, and what an order to seal forbids."""

from pathlib import Path

import pytest

from keyserver.app.accounts import load_node_key
from keyserver.app.compose_seal import opened_seal
from keyserver.app.config import Loaded, load
from keyserver.app.replacing import SEALED_BECAUSE
from keyserver.cli.output import exit_code_of
from keyserver.crypto.randomness import SystemRandom
from keyserver.errors import ConfigError
from keyserver.sealing.vault import EPOCH_CHANGED, REQUESTED, ROLLBACK_DETECTED
from keyserver.storage.database import opened
from tests.support.manual_clock import ManualClock
from tests.unit.app.samples import SECRETS


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    """A node whose key file opens its store."""
    (tmp_path / "data").mkdir()
    file = tmp_path / "config.toml"
    file.write_text(
        f'[secretstore]\nself_secret = "{SECRETS["a"]}"\npath = "{tmp_path}/data"\n'
        f'[keyserver]\ndatabase_url = "sqlite:///{tmp_path}/store.sqlite"\n'
    )
    return load(file, environ={"HOME": str(tmp_path)})


async def is_open_at_start(loaded: Loaded) -> tuple[bool, str | None]:
    """Start a process and stop it; whether its seal is open, and if not, why."""
    key, url = load_node_key(loaded.config), loaded.config.keyserver.database_url
    async with (
        opened(url) as database,
        opened_seal(loaded, database, key, random=SystemRandom(), clock=ManualClock()) as side,
    ):
        return side.vault.is_open, side.vault.status().reason


async def test_a_new_store_opens_by_itself_and_at_every_start(loaded: Loaded) -> None:
    assert await is_open_at_start(loaded) == (True, None)
    assert await is_open_at_start(loaded) == (True, None)


@pytest.mark.parametrize(
    ("reason", "is_open"), [(REQUESTED, False), (ROLLBACK_DETECTED, False), (EPOCH_CHANGED, True)]
)
async def test_what_was_sealed_for_a_reason(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, reason: str, is_open: bool
) -> None:
    """Neither an order nor a rollback is undone by the key file that lies beside."""
    assert await is_open_at_start(loaded) == (True, None)
    monkeypatch.setenv(SEALED_BECAUSE, reason)
    assert await is_open_at_start(loaded) == (is_open, None if is_open else reason)


async def test_no_new_seal_takes_the_place_of_one_that_is_gone(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SEALED_BECAUSE, ROLLBACK_DETECTED)
    with pytest.raises(ConfigError, match="restore a backup") as caught:
        await is_open_at_start(loaded)
    unit = (Path(__file__).parents[3] / "deploy" / "keyserver.service").read_text()
    assert f"RestartPreventExitStatus={exit_code_of(caught.value)}\n" in unit
