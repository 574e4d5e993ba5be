"""What is in the memory of another process (Linux)."""

from pathlib import Path


def memory_of(pid: int) -> list[bytes]:
    """All that the process may write to, piece by piece; raises `PermissionError` where forbidden.

    A process that has forbidden dumps is readable only for who has the right to trace any.
    """
    found = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights = line.split()[:2]
            first, last = (int(text, 16) for text in place.split("-"))
            if rights.startswith("rw") and not line.endswith(("[vvar]", "[vsyscall]")):
                memory.seek(first)
                found.append(memory.read(last - first))
    return found


def found_in_memory(pid: int, secrets: dict[str, bytes]) -> set[str]:
    """Which of these stand there, as bytes or hexadecimal digits."""
    pieces = memory_of(pid)
    return {
        name
        for name, secret in secrets.items()
        for form in (secret, secret.hex().encode())
        if any(form in piece for piece in pieces)
    }
