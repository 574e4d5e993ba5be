"""What `/v1` says of itself: `/v1/openapi.json` for programs, `/v1/docs` for people."""

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from keyserver.api.v1_page import render_page

INTRODUCTION: Final = (
    "A network of nodes holds secp256k1 keys that none of them holds alone. Ask any node; it works "
    "with the others. Bodies and answers are JSON, byte strings are `0x` hexadecimal, and unknown "
    "fields are refused. Every operation needs a credential of its own in the header "
    "`Secretstore-Auth`: an EIP-712 signature over operation, key id, payload, expiry and nonce. "
    "Results are encrypted to the signer. Service keys, under `/v1/keys` where a node serves them, "
    "are the asked node's alone, in the clear, and have credentials of their own. Every answer but "
    '200 and 201 is `{"error": {"code", "message", "retriable"}}`.'
)

_FRAMEWORKS_OWN: Final = ("HTTPValidationError", "ValidationError")


def add_description(app: FastAPI) -> None:
    """Serve both descriptions; they are made when first asked for."""

    @cache
    def document() -> dict[str, Any]:
        return describe(app)

    @cache
    def page() -> Response:
        style = resources.files("keyserver.api").joinpath("v1_page.css").read_text()
        return Response(
            render_page(document(), style),
            media_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": content_security_policy(style)},
        )

    async def openapi(_: Request) -> Response:
        return JSONResponse(document())

    async def docs(_: Request) -> Response:
        return page()

    app.add_route("/v1/openapi.json", openapi)
    app.add_route("/v1/docs", docs)


# Any: an OpenAPI document is plain JSON.
def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, without what the framework would answer but never does here."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=INTRODUCTION,
        routes=app.routes,
    )
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            body.get("schema", {}).pop("default", None)
    for name in _FRAMEWORKS_OWN:
        document["components"]["schemas"].pop(name, None)
    return document


def content_security_policy(style: str) -> str:
    """The page may use its own style sheet and nothing else at all."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
