"""The certificate of the configuration, which the client listener shows, and sometimes others."""

from typing import Final

from keyserver.api.listening import TlsFiles, check_tls
from keyserver.app.config import Config, http_address

OPTIONS: Final = "[keyserver] tls_cert, tls_key"


def tls_files(config: Config) -> TlsFiles | None:
    """Where certificate and key are; `None` where listeners do not encrypt."""
    certificate, key = config.keyserver.tls_cert, config.keyserver.tls_key
    return None if certificate is None or key is None else TlsFiles(certificate, key)


def check_certificate(config: Config) -> None:
    """Load what the client listener needs; raises `ConfigError` when it cannot be used."""
    tls = tls_files(config)
    if tls is not None and http_address(config) is not None:
        check_tls(OPTIONS, tls)
