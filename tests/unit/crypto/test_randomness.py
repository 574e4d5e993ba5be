import pytest

from keyserver.crypto.randomness import SeededRandom, SystemRandom, random_scalar


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 100])
def test_lengths(length: int) -> None:
    assert len(SystemRandom().bytes(length)) == length
    assert len(SeededRandom(1).bytes(length)) == length


def test_system_random_does_not_repeat() -> None:
    assert SystemRandom().bytes(16) != SystemRandom().bytes(16)


def test_seeded_random_repeats_by_seed() -> None:
    one, same, other = SeededRandom(5), SeededRandom("5"), SeededRandom(b"6")
    stream = [one.bytes(40) for _ in range(3)]
    assert len(set(stream)) == 3
    assert [same.bytes(40) for _ in range(3)] == stream
    assert other.bytes(40) != stream[0]


def test_random_scalars_differ() -> None:
    source = SeededRandom(1)
    assert random_scalar(source) != random_scalar(source)
