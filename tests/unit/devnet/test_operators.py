import stat
from pathlib import Path

import pytest

from keyserver.app.config import load
from keyserver.devnet import node_process
from keyserver.devnet.network_state import write_private
from keyserver.devnet.operators import FILE_NAME, Shares
from keyserver.errors import ConfigError
from tests.unit.devnet.test_network import CHAIN, plan

SHARES = Shares(2, (("one two", "three four"), ("five six", "seven eight")))


def test_the_file_of_shares_comes_back(tmp_path: Path) -> None:
    assert Shares.load(tmp_path) is None
    write_private(tmp_path / FILE_NAME, SHARES.to_json())
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert Shares.load(tmp_path) == SHARES
    assert SHARES.of(2) == ("five six", "seven eight")
    assert "seven" not in repr(SHARES)


@pytest.mark.parametrize("text", ["{", "5", "{}", '{"required": 2, "nodes": 7}'])
def test_a_damaged_file_is_an_error_that_shows_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ConfigError, match="cannot be used"):
        Shares.load(tmp_path)


def test_a_sealed_node_has_no_key_in_a_file(tmp_path: Path) -> None:
    made = plan(tmp_path)
    node_process.write_directory(made, CHAIN, is_sealed=True)
    assert [path.name for path in made.directory.iterdir()] == ["config.toml"]
    config = load(made.config_path, environ={}).config
    assert config.secretstore.self_secret is None
    assert not config.account.password
    assert not list(made.directory.rglob("seal.key"))
