"""Logging: structlog in front, the standard library's handlers behind.

Everything that logs takes a logger by `structlog.stdlib.get_logger(__name__)` and gives constant
snake_case event names with values as keywords: `log.info("session_opened", session=sid)`. What
libraries log comes out of the same handlers. Bytes, identifiers included, are shown as `0x…`;
secrets have types of their own whose text is redacted.
"""

import logging
import sys
from collections.abc import Callable, MutableMapping, Sequence
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog

from keyserver.app.config.problems import ConfigWarning
from keyserver.app.config.values import LogTarget
from keyserver.errors import ConfigError

TRACE = 5
"""The level below debug."""

_LEVELS = {
    "off": logging.CRITICAL + 1,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
_LOGGERS = {"": "keyserver", "secretstore": "keyserver", "secretstore_net": "keyserver.net"}
"""The original's targets, each with the part of this program that does the same."""

_MOST_BYTES = 64
"""Longer byte strings are cut when shown."""

_EventDict = MutableMapping[str, Any]
_Processor = Callable[[Any, str, _EventDict], Any]


def configure(
    *,
    targets: Sequence[LogTarget] = (),
    log_format: Literal["console", "json"] | None = None,
    log_file: Path | None = None,
    color: bool = True,
    stream: TextIO | None = None,
) -> None:
    """Set logging up for this process; may be called again.

    Messages go to `stream` (standard error by default) and to `log_file`. Without `log_format` a
    terminal gets lines for reading and everything else JSON. Raises `ConfigError` when the file
    cannot be opened.
    """
    logging.addLevelName(TRACE, "TRACE")
    stream = sys.stderr if stream is None else stream
    if log_format is None:
        log_format = "console" if stream.isatty() else "json"
    handlers: list[logging.Handler] = [logging.StreamHandler(stream)]
    handlers[0].setFormatter(_formatter(log_format, colors=color and stream.isatty()))
    if log_file is not None:
        handlers.append(_file_handler(log_file))
        handlers[-1].setFormatter(_formatter(log_format, colors=False))
    _install(handlers)
    _set_levels(targets)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def log_config_warnings(warnings: Sequence[ConfigWarning]) -> None:
    """Log what the configuration's loader and the key files want the operator to know."""
    log = structlog.stdlib.get_logger(__name__)
    for warning in warnings:
        write = log.warning if warning.level == "warning" else log.info
        write(warning.event, keys=list(warning.keys), text=warning.text)


def show_bytes(_logger: object, _method: str, event: _EventDict) -> _EventDict:
    """A structlog processor: bytes and identifiers become hexadecimal, also inside collections."""
    return {name: _shown(value) for name, value in event.items()}


def _shown(value: Any) -> Any:
    # Any: log values are whatever the caller has at hand.
    if isinstance(value, bytes | bytearray):
        text = f"0x{value[:_MOST_BYTES].hex()}"
        return text if len(value) <= _MOST_BYTES else f"{text}… ({len(value)} bytes)"
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_shown(item) for item in value), key=str)
    if isinstance(value, dict):
        return {str(_shown(key)): _shown(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    return value


def _shared_processors() -> list[_Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        show_bytes,
    ]


def _formatter(log_format: str, *, colors: bool) -> logging.Formatter:
    if log_format == "json":
        final: list[_Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=repr, ensure_ascii=False),
        ]
    else:
        plain = structlog.dev.plain_traceback
        final = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared_processors(), processors=[remove_meta, *final]
    )


def _file_handler(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return WatchedFileHandler(path, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"[misc] log_file: {path} cannot be written: {error.strerror}") from None


def _install(handlers: Sequence[logging.Handler]) -> None:
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(old)
            old.close()
    for handler in handlers:
        root.addHandler(handler)
    logging.captureWarnings(capture=True)


def _set_levels(targets: Sequence[LogTarget]) -> None:
    """Libraries from warning on, this program from info on, then what `targets` says."""
    logging.getLogger().setLevel(logging.WARNING)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("keyserver."):
            logging.getLogger(name).setLevel(logging.NOTSET)
    logging.getLogger("keyserver").setLevel(logging.INFO)
    for target in targets:
        name = _LOGGERS.get(target.target, target.target)
        if name == "keyserver" or name.startswith("keyserver."):
            logging.getLogger(name).setLevel(_LEVELS[target.level])
