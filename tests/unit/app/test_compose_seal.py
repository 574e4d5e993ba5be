"""The seal at the start of a process: what opens by itself, and what an order to seal forbids."""

from dataclasses import replace
from pathlib import Path

import pytest

from keyserver.app.accounts import load_node_key
from keyserver.app.compose_seal import opened_seal, start_warnings
from keyserver.app.config import Loaded, load
from keyserver.app.config.model import Seal
from keyserver.app.offline_sealing import stopped_store
from keyserver.app.replacing import SEALED_BECAUSE, SEEN
from keyserver.cli.output import exit_code_of
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.errors import ConfigError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import ForeignSealError, NoMatchingSlotError, WrongKeyError
from keyserver.sealing.making import prepare
from keyserver.sealing.ports import SealVersion
from keyserver.sealing.seen import SeenSeal
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


async def test_a_passphrase_is_typed_at_every_start_that_may_open(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = tmp_path / "words"
    words.write_text("correct horse\n")
    words.chmod(0o600)
    seal = loaded.config.keyserver.seal.model_copy(update={"passphrase_file": words})
    assert await is_open_at_start(with_seal(loaded, seal)) == (True, None)
    words.unlink()
    with pytest.raises(NoMatchingSlotError, match="this store has: passphrase"):
        await is_open_at_start(loaded)
    typed = ["correct horse", "wrong horse"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _: typed.pop(0))
    assert await is_open_at_start(loaded) == (True, None)
    with pytest.raises(WrongKeyError, match="the passphrase: "):
        await is_open_at_start(loaded)
    monkeypatch.setenv(SEALED_BECAUSE, REQUESTED)
    assert await is_open_at_start(loaded) == (False, REQUESTED), "nobody is asked in vain"


def with_seal(loaded: Loaded, seal: Seal) -> Loaded:
    keyserver = loaded.config.keyserver.model_copy(update={"seal": seal})
    return replace(loaded, config=loaded.config.model_copy(update={"keyserver": keyserver}))


async def test_an_older_store_is_not_opened_in_the_place_of_a_process_that_saw_a_later_one(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays up, sealed: were it to end, a supervisor would start one that knows nothing."""
    assert await is_open_at_start(loaded) == (True, None)
    key = load_node_key(loaded.config)
    seen = SeenSeal(bytes(16), key.node_id, SealVersion(1, 1))
    monkeypatch.setenv(SEALED_BECAUSE, EPOCH_CHANGED)
    monkeypatch.setenv(SEEN, seen.to_text())
    assert await is_open_at_start(loaded) == (False, ROLLBACK_DETECTED)


async def test_the_node_that_is_expected(tmp_path: Path, loaded: Loaded) -> None:
    assert await is_open_at_start(loaded) == (True, None)
    key = load_node_key(loaded.config)
    other = NodeId.of(SecretScalar.from_int(2).public())
    file = tmp_path / "config.toml"
    plain = file.read_text()
    for expected in (key.node_id, other):
        file.write_text(f'{plain}[keyserver.seal]\nexpect_node_id = "{expected.hex()}"\n')
        again = load(file, environ={"HOME": str(tmp_path)})
        if expected == key.node_id:
            assert await is_open_at_start(again) == (True, None)
            continue
        with pytest.raises(ConfigError, match="expect_node_id: is not the node of self_secret"):
            await is_open_at_start(again)
        async with opened(again.config.keyserver.database_url) as database:
            with pytest.raises(ForeignSealError, match="expect_node_id"):
                async with opened_seal(
                    again, database, None, random=SystemRandom(), clock=ManualClock()
                ):
                    pass


@pytest.mark.parametrize("reason", [ROLLBACK_DETECTED, REQUESTED, EPOCH_CHANGED])
async def test_no_new_seal_takes_the_place_of_one_that_is_gone(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setenv(SEALED_BECAUSE, reason)
    with pytest.raises(ConfigError, match="restore a backup") as caught:
        await is_open_at_start(loaded)
    unit = (Path(__file__).parents[3] / "deploy" / "keyserver.service").read_text()
    assert f"RestartPreventExitStatus={exit_code_of(caught.value)}\n" in unit


async def warned(loaded: Loaded) -> list[str]:
    """What is said at a start, by its names."""
    secret = loaded.config.secretstore.self_secret
    key = None if secret is None else load_node_key(loaded.config)
    url = loaded.config.keyserver.database_url
    async with (
        opened(url) as database,
        opened_seal(loaded, database, key, random=SystemRandom(), clock=ManualClock()) as side,
    ):
        assert {each.event for each in loaded.warnings} >= {"seal_key_beside_data"} or key is None
        return [each.event for each in start_warnings(loaded, side)]


@pytest.mark.parametrize("keep_slot", [False, True])
async def test_what_is_left_over_where_shares_open(
    tmp_path: Path, loaded: Loaded, keep_slot: bool
) -> None:
    """A key file that is not there endangers nothing; the node's key in the configuration does."""
    assert await warned(loaded) == [each.event for each in loaded.warnings]
    random, clock = SystemRandom(), ManualClock()
    async with stopped_store(loaded, random=random, clock=clock) as stopped:
        prepared = await prepare(
            stopped.seal,
            stopped.audit,
            node_secret=load_node_key(loaded.config).secret,
            shares=3,
            threshold=2,
            recipients=(),
            source=stopped.source,
            keep_slot=keep_slot,
            random=random,
            now_ms=clock.unix() * 1000,
        )
        await prepared.commit()
    told = await warned(loaded)
    assert ("seal_key_beside_data" in told) == keep_slot
    assert told[-1] == "node_key_beside_shares"
    file = tmp_path / "config.toml"
    without = [line for line in file.read_text().splitlines() if "self_secret" not in line]
    file.write_text("\n".join(without))
    without_key = await warned(load(file, environ={"HOME": str(tmp_path)}))
    assert "node_key_beside_shares" not in without_key
    assert "seal_key_beside_data" not in without_key
