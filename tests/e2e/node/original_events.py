"""Build `data/OriginalEventsService.json`: our combined service with the events of the original.

`python -m tests.e2e.node.original_events` writes the file, so that the test itself needs no
compiler. The originally published contracts have only the two-argument `ServerKeyRetrieved`, and
their compiler did not pad the last bytes of an event: the data of `DocumentKeyPersonalRetrieved`
ends with the shadow's own last byte.
"""

import json
import sys
import tempfile
from pathlib import Path

from contracts import build

CONTRACT = "SecretStoreService"
ARTIFACT = Path(__file__).parent / "data" / "OriginalEventsService.json"

RETRIEVED = "        emit ServerKeyRetrieved(serverKeyId, serverKeyPublic, standing.threshold);\n"
RETRIEVED_EVENT = (
    "    event ServerKeyRetrieved"
    "(bytes32 indexed serverKeyId, bytes serverKeyPublic, uint256 threshold);\n"
)
PERSONAL = (
    "        emit DocumentKeyPersonalRetrieved(serverKeyId, requester, decryptedSecret, shadow);\n"
)
UNPADDED = """\
        _emitUnpadded(serverKeyId, requester, abi.encode(decryptedSecret, shadow), shadow.length);
"""
INSIDE = "    // --- inside\n"
UNPADDED_FUNCTION = """\
    function _emitUnpadded(bytes32 id, address requester, bytes memory data, uint256 last) private {
        bytes32 topic = keccak256("DocumentKeyPersonalRetrieved(bytes32,address,bytes,bytes)");
        uint256 length = data.length - (32 - last % 32) % 32;
        assembly ("memory-safe") {
            log3(add(data, 32), length, topic, id, requester)
        }
    }
"""

CHANGES: dict[str, tuple[tuple[str, str], ...]] = {
    "interfaces/ServerKeyRetrievalServiceClientApi.sol": ((RETRIEVED_EVENT, ""),),
    "services/ServerKeyRetrieval.sol": ((RETRIEVED, ""),),
    "services/DocumentKeyShadowRetrieval.sol": (
        (PERSONAL, UNPADDED),
        (INSIDE, f"{INSIDE}\n{UNPADDED_FUNCTION}"),
    ),
}
"""For each source: what is replaced, and by what."""


def changed(name: str, source: str) -> str:
    """The source with its changes; raises `ValueError` if a passage is not there exactly once."""
    for passage, replacement in CHANGES.get(name, ()):
        if source.count(passage) != 1:
            raise ValueError(f"{name}: not exactly one passage {passage.strip()!r}")
        source = source.replace(passage, replacement)
    return source


def built() -> str:
    """Compile the changed sources; the text of the artifact."""
    compiler = build.find_compiler()
    sources, root = build.SOURCES, build.ROOT
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for path in sources.rglob("*.sol"):
            target = copy / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            name = path.relative_to(sources).as_posix()
            target.write_text(changed(name, path.read_text(encoding="utf-8")), encoding="utf-8")
        build.ROOT, build.SOURCES = copy, copy / "contracts"
        try:
            contracts = build.compile_sources(compiler)
        finally:
            build.ROOT, build.SOURCES = root, sources
    files = dict(build.artifacts(contracts, build.compiler_version(compiler)))
    artifact = json.loads(files[f"{CONTRACT}.json"])
    kept = {"abi": artifact["abi"], "bytecode": artifact["bytecode"]}
    return json.dumps(kept, indent=1) + "\n"


def main() -> int:
    """Write the artifact."""
    ARTIFACT.parent.mkdir(exist_ok=True)
    ARTIFACT.write_text(built(), encoding="utf-8", newline="\n")
    print(f"wrote {ARTIFACT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
