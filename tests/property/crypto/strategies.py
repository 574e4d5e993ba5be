"""Values to draw."""

from hypothesis import strategies as st

from keyserver.crypto.curve import ORDER, Scalar, SecretScalar, mul_base

scalars = st.integers(0, ORDER - 1).map(Scalar)
nonzero = st.one_of(st.integers(1, 300), st.integers(1, ORDER - 1)).map(Scalar)
secrets = nonzero.map(lambda k: SecretScalar(k.to_bytes()))
points = nonzero.map(mul_base)
seeds = st.integers(0, 2**32)


def places(count: int) -> st.SearchStrategy[list[Scalar]]:
    """Distinct non-zero places, small and large ones mixed."""
    return st.lists(nonzero, min_size=count, max_size=count, unique=True)
