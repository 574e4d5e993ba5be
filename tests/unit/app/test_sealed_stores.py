"""What a store hides is found in it, so that a search for it elsewhere means something."""

from pathlib import Path

from keyserver.app.sealed_stores import secrets_of
from keyserver.crypto.randomness import SystemRandom
from keyserver.storage.database import opened
from keyserver.storage.schema import SEALED_COLUMNS
from tests.support.backups import fill
from tests.support.manual_clock import ManualClock


async def test_the_secrets_of_all_boxes_are_those_that_were_put_in(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    async with opened(url) as database:
        filled = await fill(database)
    found = await secrets_of(url, filled.words[:2], random=SystemRandom(), clock=ManualClock())
    boxes = {name.split(" ")[0]: value for name, value in found.items() if "_box" in name}
    node_secret, service_key, key_share, term_key = filled.secrets
    assert boxes == {
        "node_identity.secret_box": node_secret,
        "service_keys.key_box": service_key,
        "key_shares.share_box": key_share,
    }
    assert found["key of term 1"] == term_key
    proofs = {f"{one.table}.{one.column}" for one in SEALED_COLUMNS} - boxes.keys()
    assert proofs == {"api_tokens.proof_box", "grants.proof_box"}, "they hold no secret"
