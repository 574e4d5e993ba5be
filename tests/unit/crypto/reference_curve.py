"""secp256k1 in plain Python, written from the curve's definition: an independent check, slow."""

PRIME = 2**256 - 2**32 - 977
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
Affine = tuple[int, int] | None

G: Affine = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def add(a: Affine, b: Affine) -> Affine:
    if a is None:
        return b
    if b is None:
        return a
    if a[0] == b[0]:
        if (a[1] + b[1]) % PRIME == 0:
            return None
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, PRIME) % PRIME
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, PRIME) % PRIME
    x = (slope * slope - a[0] - b[0]) % PRIME
    return x, (slope * (a[0] - x) - a[1]) % PRIME


def multiply(k: int, point: Affine) -> Affine:
    result: Affine = None
    while k:
        if k & 1:
            result = add(result, point)
        point = add(point, point)
        k >>= 1
    return result


def raw64(point: Affine) -> bytes | None:
    """`x || y`, or None for infinity."""
    return None if point is None else b"".join(c.to_bytes(32, "big") for c in point)
