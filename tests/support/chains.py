"""On which chains tests of whole networks are played."""

import pytest

from keyserver.devnet.anvil import find_anvil
from keyserver.devnet.settings import ANVIL, EMBEDDED
from keyserver.errors import ConfigError


def usual_chain() -> str:
    """The chain of every run: anvil, where it is here."""
    try:
        find_anvil()
    except ConfigError:
        return EMBEDDED
    return ANVIL


def skip_unless_played(chain: str, config: pytest.Config, *, is_usual: bool = True) -> None:
    """Skip what needs another chain than the usual one; with `--full-matrix` what is not here.

    `is_usual`: whether every run plays it on the usual chain.
    """
    usual = usual_chain()
    if chain == ANVIL != usual:
        pytest.skip("anvil is not here")
    if not (config.getoption("--full-matrix") or (is_usual and chain == usual)):
        pytest.skip("with --full-matrix only")
