"""The page `/v1/docs`, from the OpenAPI document: plain HTML, no script, nothing from elsewhere."""

import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from itertools import chain
from typing import Any, Final

from keyserver.api.v1_credentials import FORM, HEADER
from keyserver.api.v1_example import (
    DOMAIN,
    KEY_ID,
    NOT_AFTER,
    SECRET_HEX,
    Example,
    worked_example,
)

# Any: an OpenAPI document is plain JSON.
Json = dict[str, Any]

_METHODS: Final = ("get", "post")
_CODE: Final = re.compile(r"`([^`]*)`")
_TYPED_FIELD: Final = re.compile(r'\{\s+("name": "\w+"),\s+("type": "\w+")\s+\}')

SNIPPET: Final = """\
import secrets, time
import requests
from eth_account import Account
from eth_utils import keccak

url, key_id, threshold = "http://127.0.0.1:8082", secrets.token_bytes(32), 1
node = requests.get(f"{url}/v1/node").json()
not_after, nonce = int(time.time()) + 300, secrets.token_bytes(32)
signed = Account.from_key(private_key).sign_typed_data(
    {
        "name": "SecretStore",
        "version": "2",
        "chainId": node["chain_id"],
        "verifyingContract": node["verifying_contract"],
    },
    {
        "Request": [
            {"name": "operation", "type": "uint8"},
            {"name": "keyId", "type": "bytes32"},
            {"name": "payloadHash", "type": "bytes32"},
            {"name": "notAfter", "type": "uint64"},
            {"name": "nonce", "type": "bytes32"},
        ]
    },
    {
        "operation": 1,
        "keyId": key_id,
        "payloadHash": keccak(threshold.to_bytes(2, "big")),
        "notAfter": not_after,
        "nonce": nonce,
    },
)
signature = signed.signature[:64] + bytes([signed.v - 27])
answer = requests.post(
    f"{url}/v1/server-keys/{key_id.hex()}",
    json={"threshold": threshold},
    headers={"Secretstore-Auth": f"v1 {not_after} {nonce.hex()} {signature.hex()}"},
)
print(answer.json())
"""
"""A whole request in Python, with the packages `eth-account` and `requests`."""


def render_page(document: Json, style: str) -> str:
    """The page."""
    operations = list(_operations(document))
    info = document["info"]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(info["title"])} /v1</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<nav>
<p class="brand">{escape(info["title"])} <span>/v1</span></p>
<ul>
<li><a href="#about">About</a></li>
<li><a href="#credential">Signing a request</a></li>
{_join(_nav_entry(*each) for each in operations)}
<li><a href="#errors">Errors</a></li>
<li><a href="/v1/openapi.json">openapi.json</a></li>
</ul>
</nav>
<main>
<section id="about">
<h1>{escape(info["title"])} <small>version {escape(info["version"])}</small></h1>
<p class="lead">{escape(info["summary"])}.</p>
<p>{_text(info["description"])}</p>
</section>
{_credential()}
<h2 id="operations">Operations</h2>
{_join(_card(document, *each) for each in operations)}
{_errors(document, operations)}
</main>
</body>
</html>
"""


# --- the credential ---------------------------------------------------------------------------


def typed_text(example: Example) -> str:
    """The typed data as people read it: a field a line."""
    return _TYPED_FIELD.sub(r"{\1, \2}", json.dumps(example.typed_data, indent=2))


def _credential() -> str:
    example = worked_example()
    command = (
        f"curl -X POST http://127.0.0.1:8082{example.path} \\\n"
        f"  -H '{example.header}' \\\n"
        f"  -d '{example.body}'"
    )
    return f"""<section id="credential">
<h2>Signing a request</h2>
<p>{_text(f"Every operation but `GET /v1/node` needs the header `{HEADER}: {FORM}`.")}</p>
<ol>
<li>{_text("Ask `GET /v1/node` for `chain_id` and `verifying_contract`, once per network.")}</li>
<li>{
        _text(
            "Take 32 random bytes as nonce, and as expiry a unix time at most 600 seconds ahead, "
            "in decimal."
        )
    }</li>
<li>{
        _text(
            "Sign the typed data `Request` below (EIP-712): number of the operation, key id, "
            "keccak-256 of the payload, expiry, nonce. Each operation below names its number and "
            "its payload; `exclude` is no part of it."
        )
    }</li>
<li>{
        _text(
            "The signature is r, s and the recovery id `v`, 0 to 3: where a wallet says 27 or 28, "
            "subtract 27. Hexadecimal, with or without 0x."
        )
    }</li>
<li>{
        _text(
            "Each credential is good for one request at one node. It is not used up by an answer "
            "that came before other nodes were asked, such as 429 or a malformed field."
        )
    }</li>
</ol>
<p>{
        _text(
            "Whoever the signature recovers to is the requester. A signature over anything else "
            "than this very request belongs to an account that nobody has: compare `author` in "
            "the answer with your own account."
        )
    }</p>
<h3>A worked example</h3>
<p>{
        _text(
            f"Operation 1 for the key id `0x{KEY_ID.hex()}` with threshold 1, by the account "
            f"`0x{example.account.hex()}` (private key `0x{SECRET_HEX}`), in the network of chain "
            f"{DOMAIN.chain_id}, with expiry {NOT_AFTER}. To be signed:"
        )
    }</p>
<pre>{escape(typed_text(example))}</pre>
<table>
<tr><th>payload</th><td><code>0x{example.payload.hex()}</code></td></tr>
<tr><th>digest</th><td><code>0x{example.digest.hex()}</code></td></tr>
<tr><th>signature</th><td><code>0x{example.signature.hex()}</code></td></tr>
</table>
<p>The request, whose expiry is too far ahead to be taken before it is near:</p>
<pre>{escape(command)}</pre>
<h3>In Python</h3>
<pre>{escape(SNIPPET)}</pre>
</section>"""


# --- operations -------------------------------------------------------------------------------


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield method, path, methods[method]


def _nav_entry(method: str, path: str, operation: Json) -> str:
    name = operation["operationId"]
    return (
        f'<li><a href="#{escape(name)}" title="{escape(path)}">'
        f'<b class="{method}">{method.upper()}</b> {escape(name)}</a></li>'
    )


def _card(document: Json, method: str, path: str, operation: Json) -> str:
    name = escape(operation["operationId"])
    first, _, rest = operation["description"].partition("\n\n")
    more = f"<p>{_text(rest)}</p>" if rest else ""
    return f"""<article id="{name}">
<h3><b class="{method}">{method.upper()}</b> <code>{escape(path)}</code></h3>
<p class="lead">{escape(operation["summary"])}</p>
<p>{_text(first)}</p>
{more}
{_asked_for(document, operation)}
{_answer(document, operation)}
{_refusals(operation)}
</article>"""


def _asked_for(document: Json, operation: Json) -> str:
    rows = [
        _row(
            f"{each['name']} ({each['in']})",
            each["schema"],
            each.get("description", ""),
            required=each["required"],
        )
        for each in operation.get("parameters", ())
    ]
    for name in chain.from_iterable(operation.get("security", ())):
        scheme = document["components"]["securitySchemes"][name]
        text = f"`{FORM}`" if scheme["name"] == HEADER else scheme["description"]
        rows.append(_row(f"{scheme['name']} (header)", {"type": "string"}, text, required=True))
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        rows += _fields(document, content["application/json"]["schema"], are_marked=True)
    return f"<h4>Request</h4>{_table(rows)}" if rows else "<h4>Request</h4><p>No fields.</p>"


def _answer(document: Json, operation: Json) -> str:
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    rows = _fields(document, schema, are_marked=False)
    statuses = ", ".join(status for status in operation["responses"] if _is_success(status))
    return f"<h4>Answer, {statuses}</h4>{_table(rows) if rows else '<p><code>{}</code></p>'}"


def _refusals(operation: Json) -> str:
    rows = [
        f'<tr><td class="status">{status}</td><td>{_text(answer["description"])}</td></tr>'
        for status, answer in operation["responses"].items()
        if not _is_success(status)
    ]
    return f"<details><summary>Errors</summary><table>{_join(rows)}</table></details>"


def _fields(document: Json, schema: Json, *, are_marked: bool) -> list[str]:
    model = _resolved(document, schema)
    required = set(model.get("required", ()))
    return [
        _row(name, each, each.get("description", ""), required=name in required or not are_marked)
        for name, each in model.get("properties", {}).items()
    ]


def _row(name: str, schema: Json, description: str, *, required: bool) -> str:
    optional = "" if required else " <i>optional</i>"
    return (
        f"<tr><th>{escape(name)}{optional}</th>"
        f"<td><code>{escape(_kind(schema))}</code></td><td>{_text(description)}</td></tr>"
    )


def _is_success(status: str) -> bool:
    return status.startswith("2")


def _kind(schema: Json) -> str:
    """A type in a few words."""
    if "$ref" in schema:
        return "{…}"
    if "anyOf" in schema:
        return " | ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if schema["type"] == "array":
        return f"[{_kind(schema['items'])}, …]"
    pattern = re.fullmatch(r"\^(\(0x\)\?|0x)\[0-9a-fA-F\]\{(\d+)\}\$", schema.get("pattern", ""))
    if pattern is not None:
        of_curve = ", a point" if schema.get("format") else ""
        prefix = "0x + " if pattern[1] == "0x" else ""
        return f"{prefix}{pattern[2]} hex digits{of_curve}"
    if "maximum" in schema:
        return f"{schema['type']}, {int(schema['minimum'])} to {int(schema['maximum'])}"
    return "0x + hex digits" if "pattern" in schema else str(schema["type"])


def _resolved(document: Json, schema: Json) -> Json:
    name = schema["$ref"].rsplit("/", 1)[1]
    model: Json = document["components"]["schemas"][name]
    return model


# --- errors -----------------------------------------------------------------------------------


def _errors(document: Json, operations: Iterable[tuple[str, str, Json]]) -> str:
    rows = _fields(document, {"$ref": "#/components/schemas/ErrorBody"}, are_marked=False)
    texts: dict[str, list[str]] = {}
    for _, _, operation in operations:
        for status, answer in operation["responses"].items():
            known = texts.setdefault(status, [])
            known += [text for text in answer["description"].split("; ") if text not in known]
    listed = [
        f'<tr><td class="status">{status}</td><td>{"<br>".join(map(_text, said))}</td></tr>'
        for status, said in sorted(texts.items())
        if not _is_success(status)
    ]
    return f"""<section id="errors">
<h2>Errors</h2>
<p>{_text('Every answer but 200 and 201 has the body `{"error": {…}}` with these fields:')}</p>
{_table(rows)}
<p>{
        _text(
            "What may be repeated has `retriable` true and a header `Retry-After`; sign again, as "
            "the credential may be used up. Requests with a head above 8 KiB of request line or "
            "32 KiB of headers (414, 431) and pages of a foreign origin (404) get an empty body."
        )
    }</p>
<table>{_join(listed)}</table>
</section>"""


# --- HTML -------------------------------------------------------------------------------------


def _text(text: str) -> str:
    """Text with `code` between backticks."""
    return _CODE.sub(r"<code>\1</code>", escape(text, quote=False))


def _table(rows: Iterable[str]) -> str:
    return f"<table>{_join(rows)}</table>"


def _join(parts: Iterable[str]) -> str:
    return "\n".join(parts)
