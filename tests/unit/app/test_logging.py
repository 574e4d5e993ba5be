"""Levels, formats and what values look like in the log."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from keyserver.app import logging as node_logging
from keyserver.app.config import ConfigWarning, LogTarget
from keyserver.errors import ConfigError
from tests.unit.app.samples import SECRETS, node_id, secret


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_has_the_event_its_values_and_the_context() -> None:
    stream = io.StringIO()
    node_logging.configure(stream=stream)  # no terminal, so JSON
    structlog.contextvars.bind_contextvars(session=b"\x01\x02")
    log = structlog.stdlib.get_logger("keyserver.engine.driver")
    log.info("session_opened", peer=node_id("a"), keys={b"\x03": (b"\x04", 5)}, where=Path("/x"))
    (line,) = lines(stream)
    assert line["event"] == "session_opened"
    assert line["level"] == "info"
    assert line["logger"] == "keyserver.engine.driver"
    assert line["session"] == "0x0102"
    assert line["peer"] == f"0x{node_id('a').hex()}"
    assert line["keys"] == {"0x03": ["0x04", 5]}
    assert line["where"] == "/x"
    assert str(line["timestamp"]).endswith("Z")


def test_secrets_are_redacted_and_long_bytes_cut() -> None:
    stream = io.StringIO()
    node_logging.configure(stream=stream)
    log = structlog.stdlib.get_logger("keyserver.app")
    log.info("test", key=secret("a"), many={secret("a").expose()[:1]}, long=bytes(100))
    assert SECRETS["a"] not in stream.getvalue()
    (line,) = lines(stream)
    assert line["long"] == f"0x{'00' * 64}… (100 bytes)"
    assert line["many"] == ["0x68"]


def test_levels_by_target() -> None:
    stream = io.StringIO()
    targets = [
        LogTarget("secretstore", "warn"),
        LogTarget("secretstore_net", "trace"),
        LogTarget("keyserver.chain", "debug"),
        LogTarget("own_tx", "trace"),
    ]
    node_logging.configure(stream=stream, targets=targets)
    for name in ("keyserver.engine", "keyserver.net.mesh", "keyserver.chain", "own_tx", "web3"):
        log = structlog.stdlib.get_logger(name)
        for level in ("debug", "info", "warning"):
            getattr(log, level)("seen")
    seen = [(line["logger"], line["level"]) for line in lines(stream)]
    assert seen == [
        ("keyserver.engine", "warning"),
        *(("keyserver.net.mesh", level) for level in ("debug", "info", "warning")),
        *(("keyserver.chain", level) for level in ("debug", "info", "warning")),
        ("own_tx", "warning"),
        ("web3", "warning"),
    ]
    node_logging.configure(stream=stream)  # again: the targets of before are forgotten
    assert not logging.getLogger("keyserver.net.mesh").isEnabledFor(logging.DEBUG)
    assert logging.getLogger("keyserver.net.mesh").isEnabledFor(logging.INFO)


def test_a_target_that_is_off() -> None:
    stream = io.StringIO()
    node_logging.configure(stream=stream, targets=[LogTarget("secretstore_net", "off")])
    for name in ("keyserver.net.mesh", "keyserver.engine"):
        structlog.stdlib.get_logger(name).critical("seen")
    assert [line["logger"] for line in lines(stream)] == ["keyserver.engine"]


def test_libraries_come_out_of_the_same_handler_once() -> None:
    stream = io.StringIO()
    node_logging.configure(stream=io.StringIO())
    node_logging.configure(stream=stream)
    logging.getLogger("web3.providers").warning("lost %s", "contact")
    assert [line["event"] for line in lines(stream)] == ["lost contact"]


def test_the_console_form_and_traces() -> None:
    stream = io.StringIO()
    node_logging.configure(stream=stream, log_format="console")
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.stdlib.get_logger("keyserver.app").exception("task_failed", task=1)
    text = stream.getvalue()
    assert "task_failed" in text
    assert "ValueError: broken" in text
    assert "\x1b[" not in text


def test_the_file_gets_what_the_stream_gets(tmp_path: Path) -> None:
    stream = io.StringIO()
    file = tmp_path / "logs/node.log"
    node_logging.configure(stream=stream, log_file=file)
    structlog.stdlib.get_logger("keyserver.app").info("started", port=1)
    assert file.read_text() == stream.getvalue()
    with pytest.raises(ConfigError, match=r"\[misc\] log_file: .* cannot be written"):
        node_logging.configure(stream=stream, log_file=tmp_path)


def test_warnings_of_the_configuration_are_logged() -> None:
    stream = io.StringIO()
    node_logging.configure(stream=stream)
    node_logging.log_config_warnings(
        [
            ConfigWarning("nodes_ignored", ("secretstore.nodes",), "The text."),
            ConfigWarning("ignored_settings", (), "Other.", level="info"),
        ]
    )
    first, second = lines(stream)
    assert (first["event"], first["level"], first["text"]) == (
        "nodes_ignored",
        "warning",
        "The text.",
    )
    assert first["keys"] == ["secretstore.nodes"]
    assert (second["event"], second["level"]) == ("ignored_settings", "info")
