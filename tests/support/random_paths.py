"""Requests that look like the original's and are wrong, made from its grammar and from noise."""

from random import Random

from tests.support.raw_http import head

_METHODS = ["GET", "POST", "POST", "GET", "PUT", "HEAD", "DELETE", "PATCH", "get", "OPTIONS"]
_WORDS = [
    "shadow",
    "schnorr",
    "ecdsa",
    "server",
    "admin",
    "servers_set_change",
    "",
    "V1",
    "0x",
    ".",
]
_NOISE = "0123456789abcdefABCDEF%/?+-.~:@!$&'()*,;=_gz"


def _hex(random: Random, size: int) -> str:
    return random.randbytes(size).hex()


def _field(random: Random) -> str:
    """A field, right or nearly so."""
    right = _hex(random, random.choice([32, 65, 64]))
    cut = right[:10] + random.choice(["g", "%20", "%00", "%ff", "%2f", "ä"]) + right[11:]
    number = random.choice(["-1", "+", "1.0", "18446744073709551616", "1e3", "0x1", "1", "007"])
    noise = "".join(random.choices(_NOISE, k=random.randrange(30)))
    encoded = right[:-2] + "%3" + right[-1]
    changed = [right[:-1], right + "0", "0x" + right, right.upper(), encoded, cut]
    return random.choice([right, *changed, number, noise, ""])


def random_path(random: Random) -> str:
    """A path that no row of the interface knows, or whose signature recovers by no chance.

    A signature that is well-formed belongs to an id of all zeros, which is refused.
    """
    if random.random() < 0.01:
        return "/" + "a" * random.randrange(8_192, 20_000)
    segments = [_field(random) for _ in range(random.randrange(6))]
    for _ in range(random.randrange(3)):
        segments.insert(random.randrange(len(segments) + 1), random.choice(_WORDS))
    if random.random() < 0.1:
        segments = [random.choice(_WORDS), "0" * 64, _hex(random, 64) + "05", *segments[:2]]
    path = random.choice(["/", "/", "//", "/%2f"]) + "/".join(segments)
    return path.encode().decode("latin-1") if random.random() < 0.9 else path + "?x=%zz&y"


def random_request(random: Random) -> bytes:
    """The bytes of a request; some have a body, or come from a foreign page."""
    method = random.choice(_METHODS)
    headers = [("Host", "node")]
    body = b""
    if random.random() < 0.2:
        body = random.randbytes(random.randrange(200))
        headers.append(("Content-Length", str(len(body))))
    if random.random() < 0.05:
        headers.append(("Origin", random.choice(["http://evil.example", "null", "x"])))
    return head(method, random_path(random), headers) + body
