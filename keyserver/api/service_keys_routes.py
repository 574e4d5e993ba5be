"""`/v1/keys`: rotating keys with which services encrypt what belongs to an owner (sealing, C18)."""

import base64
from typing import Annotated, Final

from fastapi import Depends, Query, Security
from fastapi.security import APIKeyHeader
from starlette.requests import Request
from starlette.responses import Response

from keyserver.api.service_keys_admission import AUTHORIZATION, OWNER_HEADER, ServiceKeyRequest
from keyserver.api.service_keys_models import (
    Decrypt,
    Decrypted,
    Encrypt,
    Encrypted,
    Key,
    KeyUuid,
    Limit,
    Service,
    ServiceEntry,
    ServiceList,
    VersionEntry,
    VersionList,
)
from keyserver.api.v1_admission import V1Dependencies
from keyserver.api.v1_models import Nothing
from keyserver.api.v1_routes import NO_BODY, errors_of, new_router
from keyserver.sealing.signed_requests import FORM

KEYS: Final = "/v1/keys"
DEFAULT_PAGE: Final = 100

router = new_router()
"""Only mounted where service keys are served."""

_CREDENTIAL: Final = APIKeyHeader(
    name=AUTHORIZATION,
    scheme_name=AUTHORIZATION,
    description=f"`Bearer kst1_…`, a token, or a signature of this one request: `{FORM}`. For "
    f"another owner than yourself also `{OWNER_HEADER}: <owner, percent-encoded>`, which counts "
    "where an administrator granted it.",
    auto_error=False,
)

_ERRORS: Final = {
    401: "`UNAUTHENTICATED`, `SIGNATURE_EXPIRED`, `NONCE_USED`: the credential is missing, wrong, "
    "too old, or was used",
    403: "`FORBIDDEN`: not this service, or not this operation; `OWNER_NOT_PROVEN`: no grant for "
    "this owner",
    413: "`BODY_TOO_LARGE`: more than 192 KiB",
    500: "`STORAGE_CORRUPT`: a stored key does not open",
    503: "`SEALED`, `STORAGE_UNAVAILABLE`, `AUDIT_UNAVAILABLE`: repeat later",
}
_DELETED: Final = {410: "`OWNER_DELETED`: the keys of this owner were deleted"}
_NO_KEY: Final = {404: "`KEY_NOT_FOUND`: this owner has no such key"}


async def _asked(
    request: Request, _: Annotated[str | None, Security(_CREDENTIAL)]
) -> ServiceKeyRequest:
    """A coroutine, although it waits for nothing: FastAPI would run a function in a thread."""
    needs: V1Dependencies = request.app.state.needs
    assert needs.service_keys is not None, "mounted without what it needs"
    return ServiceKeyRequest(needs.service_keys, needs.limiter, request)


Asked = Annotated[ServiceKeyRequest, Depends(_asked)]


# --- keys -------------------------------------------------------------------------------------


@router.post(
    f"{KEYS}/{{service}}/current",
    summary="Get the key to encrypt with now",
    responses={
        **errors_of({**_ERRORS, **_DELETED}),
        201: {"model": Key, "description": "The key was made just now"},
    },
)
async def current_service_key(
    service: Service, asked: Asked, response: Response, body: Nothing = NO_BODY
) -> Key:
    """Tell the newest key of this service, made if there is none or the last one has expired.

    All that ask at the same moment get the same one. Keep its id with what you encrypt.
    """
    async with asked.admitted("current_service_key") as who:
        handed = await asked.keys.current(who, service)
        if handed.made:
            response.status_code = 201
        return Key.of(handed.key)


@router.get(
    f"{KEYS}/{{service}}/{{id}}",
    summary="Get a key by its id",
    responses=errors_of({**_ERRORS, **_DELETED, **_NO_KEY}),
)
async def service_key(service: Service, id: KeyUuid, asked: Asked) -> Key:  # noqa: A002
    """Tell a key that was the current one once: old ones stay for ever."""
    async with asked.admitted("service_key") as who:
        return Key.of(await asked.keys.by_id(who, service, id))


# --- lists ------------------------------------------------------------------------------------


@router.get(KEYS, summary="List services with keys", responses=errors_of(_ERRORS))
async def services(
    asked: Asked,
    after: Annotated[str, Query(description="a service: list those after it")] = "",
    limit: Limit = DEFAULT_PAGE,
) -> ServiceList:
    """Name the services that you may ask for and that have keys, in the order of their bytes."""
    async with asked.admitted("services") as who:
        page = await asked.keys.services(who, after, limit)
        return ServiceList(
            owner=who.owner,
            services=[ServiceEntry.of(line) for line in page.lines],
            next_after=page.next_after,
        )


@router.get(
    f"{KEYS}/{{service}}", summary="List the keys of a service", responses=errors_of(_ERRORS)
)
async def service_key_versions(
    service: Service,
    asked: Asked,
    before: Annotated[
        int | None, Query(ge=1, lt=1 << 53, description="a number: list versions before it")
    ] = None,
    limit: Limit = DEFAULT_PAGE,
) -> VersionList:
    """Name all versions of a service's key, the newest first, without the keys themselves."""
    async with asked.admitted("service_key_versions") as who:
        versions = await asked.keys.versions(who, service, before, limit)
        return VersionList(
            owner=who.owner,
            service=service,
            versions=[VersionEntry.of(version) for version in versions],
            next_before=versions[-1].seq if len(versions) == limit else None,
        )


# --- data -------------------------------------------------------------------------------------


@router.post(
    f"{KEYS}/{{service}}/encrypt",
    summary="Encrypt small data",
    responses=errors_of({**_ERRORS, **_DELETED}),
)
async def encrypt(service: Service, body: Encrypt, asked: Asked) -> Encrypted:
    """Encrypt up to 64 KiB with the current key, which does not leave the node."""
    async with asked.admitted("encrypt") as who:
        ciphertext = await asked.keys.encrypt(who, service, body.plaintext, body.aad)
        return Encrypted(ciphertext=ciphertext.text())


@router.post(
    f"{KEYS}/{{service}}/decrypt",
    summary="Decrypt small data",
    responses=errors_of({**_ERRORS, **_DELETED, **_NO_KEY}),
)
async def decrypt(service: Service, body: Decrypt, asked: Asked) -> Decrypted:
    """Decrypt what was encrypted here, for the same owner, service and associated data."""
    async with asked.admitted("decrypt") as who:
        plaintext = await asked.keys.decrypt(who, service, body.ciphertext, body.aad)
        return Decrypted(plaintext=base64.b64encode(plaintext).decode())
