"""What imicros-keys does when operators' shares come in (sealing, A7 and B), and what this does.

Each test is named after its row; numbers of findings (B4 …) stand in the docstrings.
"""

import asyncio
import json
from pathlib import Path

import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.slip39 import parse_mnemonic, split
from keyserver.errors import StorageError
from keyserver.sealing.errors import (
    AlreadyInitialisedError,
    NotInitialisedError,
    SealedError,
    ShareMalformedError,
    ShareUnknownError,
    ShareWrongSetError,
)
from keyserver.sealing.handing_out import Sharing
from keyserver.sealing.key_sources import KeyText
from keyserver.sealing.making import initialise
from keyserver.sealing.ports import SYSTEM, SealState
from keyserver.sealing.vault import Vault
from tests.support.sealing import (
    NOW_MS,
    AuditList,
    MemorySealStore,
    SealScene,
    documents,
    mnemonics,
)

OLD_SHARE = "801" + "5ec6d0a1" * 20
"""A share of the form that imicros-keys hands out: 163 digits."""


async def init(store: MemorySealStore, **changes: object) -> list[str]:
    arguments: dict[str, object] = {"source": None, "node_secret": None, **changes}
    made = await initialise(
        store,
        AuditList(),
        shares=5,
        threshold=3,
        random=SeededRandom("another"),
        now_ms=NOW_MS,
        **arguments,  # type: ignore[arg-type]
    )
    return mnemonics(made)


async def five() -> tuple[SealScene, list[str], Vault]:
    """Three of five, as imicros-keys has it; the shares as words; a sealed process."""
    scene = await SealScene.make(5, 3)
    return scene, mnemonics(scene.new), await scene.process()


# --- the rows of A7 ---------------------------------------------------------------------------


async def test_same_share_twice() -> None:
    _, shares, vault = await five()
    for _ in range(3):
        answer = await vault.submit(shares[0])
    assert (answer.accepted, answer.reason, answer.progress) == (False, "duplicate", 1)


async def test_same_share_in_upper_case() -> None:
    """It counted as a second share; with one more the node was stuck."""
    _, shares, vault = await five()
    await vault.submit(shares[0])
    for spelled in (shares[0].upper(), shares[0].title(), f"  {shares[0]}\n"):
        answer = await vault.submit(spelled)
        assert (answer.reason, answer.progress) == ("duplicate", 1)
    shortened = " ".join(word[:4] for word in shares[0].split())
    assert (await vault.submit(shortened)).progress == 1
    await vault.submit(shares[1])
    assert not (await vault.submit(shares[2])).sealed


async def test_third_share_from_another_set() -> None:
    """B4: the node said that it was unsealed, served nothing and took no further share."""
    _, shares, vault = await five()
    foreign = await init(MemorySealStore())
    for share in shares[:2]:
        await vault.submit(share)
    before = vault.status()
    with pytest.raises(ShareWrongSetError):
        await vault.submit(foreign[2])
    assert vault.status() == before
    assert before.state is SealState.UNSEALING
    assert not (await vault.submit(shares[4])).sealed
    assert vault.node_secret is not None


async def test_third_share_from_another_set_with_the_same_identifier() -> None:
    """The one case that the share itself cannot tell."""
    scene, shares, vault = await five()
    foreign = split(
        bytes(32),
        threshold=3,
        count=5,
        identifier=scene.new.slot.identifier,
        rng=SeededRandom(0),
    )
    for share in shares[:2]:
        await vault.submit(share)
    with pytest.raises(ShareUnknownError):
        await vault.submit(foreign[2].mnemonic())
    assert not (await vault.submit(shares[2])).sealed


async def test_third_share_mistyped() -> None:
    """B13: one wrong digit gave a plausible key that was wrong in one byte."""
    _, shares, vault = await five()
    for share in shares[:2]:
        await vault.submit(share)
    words = shares[2].split()
    swapped = [*words[:9], words[10], words[9], *words[11:]]
    with pytest.raises(ShareMalformedError, match="checksum"):
        await vault.submit(" ".join(swapped))
    with pytest.raises(ShareMalformedError, match="word 10") as caught:
        await vault.submit(" ".join([*words[:9], "wrrong", *words[10:]]))
    assert caught.value.word == 10
    assert vault.status().progress == 2
    assert not (await vault.submit(shares[2])).sealed


@pytest.mark.parametrize("text", ["", " ", "8", OLD_SHARE, "0" * 163, "{}", "null", "\0", "ä" * 99])
async def test_share_text_malformed(text: str) -> None:
    _, shares, vault = await five()
    await vault.submit(shares[0])
    with pytest.raises(ShareMalformedError):
        await vault.submit(text)
    assert vault.status().progress == 1


async def test_unseal_before_set_verify_hash() -> None:
    """B3: nothing has to be set, and so nothing can be set wrongly."""
    _, shares, vault = await five()
    for share in shares[2:]:
        answer = await vault.submit(share)
    assert not answer.sealed


async def test_unseal_before_init() -> None:
    _, shares, _ = await five()
    scene = await SealScene.make()
    scene.store = MemorySealStore()
    empty = await scene.process()
    with pytest.raises(NotInitialisedError):
        await empty.submit(shares[0])


async def test_three_shares_of_a_foreign_set() -> None:
    """With an empty verify hash they opened, and keys of the foreign master key were served."""
    _, _, vault = await five()
    for share in await init(MemorySealStore()):
        with pytest.raises(ShareWrongSetError):
            await vault.submit(share)
    assert vault.status().state is SealState.SEALED


async def test_a_caller_cannot_choose_the_work() -> None:
    """B3: three million iterations stalled the process. A share of another exponent is refused."""
    scene, shares, vault = await five()
    costly = split(
        bytes(32),
        threshold=3,
        count=5,
        identifier=scene.new.slot.identifier,
        rng=SeededRandom(0),
    )[0]
    for exponent in (1, 15):
        odd = parse_mnemonic(shares[0])
        text = type(odd)(
            odd.identifier, True, exponent, 0, 1, 1, 0, odd.member_threshold, costly.value
        ).mnemonic()
        with pytest.raises(ShareWrongSetError):
            await vault.submit(text)


async def test_init_a_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B6: it worked from another directory, and gave shares of another master key."""
    scene, shares, _ = await five()
    before = scene.store.stored
    for directory in (tmp_path, Path("/")):
        monkeypatch.chdir(directory)
        for source in (None, KeyText("KEY", "ab" * 32)):
            with pytest.raises(AlreadyInitialisedError):
                await init(scene.store, source=source)
    assert scene.store.stored == before
    await scene.opened(shares[:3])


async def test_init_leaves_the_node_sealed() -> None:
    scene, _, vault = await five()
    assert vault.status().state is SealState.SEALED
    with pytest.raises(SealedError):
        _ = vault.boxes
    assert scene.store.stored is not None


async def test_store_unreachable_at_unseal() -> None:
    """B15: the answer was "received 3", and nothing ever tried again."""
    scene, shares, vault = await five()
    for share in shares[:2]:
        await vault.submit(share)
    scene.store.fails = True
    for share in (shares[2], shares[2], shares[3]):
        with pytest.raises(StorageError):
            await vault.submit(share)
        assert vault.status().state is SealState.UNSEALING
    assert vault.status().sealed
    scene.store.fails = False
    assert not (await vault.submit(shares[0])).sealed


async def test_further_shares_after_unsealing() -> None:
    _, shares, vault = await five()
    for share in shares[:3]:
        await vault.submit(share)
    answer = await vault.submit(shares[3])
    assert (answer.accepted, answer.reason) == (False, "already_unsealed")
    assert vault.is_open


# --- the findings of B that no row shows ------------------------------------------------------


async def test_b4_one_bad_share_holder_cannot_keep_the_others_out() -> None:
    """There is no reset that is open to all: only one's own share can be taken back."""
    _, shares, vault = await five()
    foreign = await init(MemorySealStore())
    for share in (shares[0], shares[1]):
        await vault.submit(share)
        for bad in (*foreign, "junk", OLD_SHARE):
            for ask in (vault.submit, vault.withdraw):
                with pytest.raises((ShareWrongSetError, ShareMalformedError)):
                    await ask(bad)
        await vault.withdraw(shares[4])
    assert vault.status().progress == 2
    assert not (await vault.submit(shares[2])).sealed


async def test_b5_a_leaked_set_of_shares_is_not_for_ever() -> None:
    scene, shares, _ = await five()
    vault = await scene.opened(shares[:3])
    rekeys = scene.rekeys(vault)
    started = await rekeys.start(3, 5, (), False, SYSTEM)
    for share in shares[:3]:
        answer = await rekeys.prove(started.rekey, share)
    await rekeys.commit(started.rekey, SYSTEM)
    fresh = await scene.process()
    for share in shares:
        with pytest.raises(ShareWrongSetError) as caught:
            await fresh.submit(share)
        assert caught.value.epoch == 1
    assert answer.new_shares is not None
    await scene.opened(documents(answer.new_shares)[:3])


async def test_b6_two_inits_at_once_make_one_master_key() -> None:
    store = MemorySealStore()
    results = await asyncio.gather(*(init(store) for _ in range(4)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, AlreadyInitialisedError)]
    assert len(refused) == 3


async def test_b8_shares_do_not_stay_in_memory() -> None:
    scene, shares, vault = await five()
    await vault.submit(shares[0])
    collected = vault._machine.collected
    assert collected is not None
    buffers = [held.value._key for held in collected.held]
    assert any(any(buffer) for buffer in buffers)
    del collected
    scene.clock.advance(15 * 60)
    await vault.drop_expired()
    assert not any(any(buffer) for buffer in buffers)
    for share in shares[:3]:
        await vault.submit(share)
    assert vault._machine.collected is not None
    assert vault._machine.collected.held == ()
    vault.shut("requested")
    assert vault.status().sealed


def test_b12_coefficients_may_be_zero() -> None:
    """A draw of zero was thrown away, so with threshold 2 no byte of two shares was ever equal."""
    equal = 0
    for seed in range(128):
        shares = split(bytes(32), threshold=2, count=3, identifier=0, rng=SeededRandom(seed))
        equal += sum(a == b for a, b in zip(shares[0].value, shares[1].value, strict=True))
    assert 3 < equal < 40  # of 4096 bytes one in 256: 16


@pytest.mark.parametrize(("threshold", "shares"), [(1, 1), (2, 2), (2, 7), (16, 16)])
async def test_b14_how_many_shares_there_are_is_free(threshold: int, shares: int) -> None:
    assert Sharing(threshold, shares).shares == shares
    scene = await SealScene.make(shares, threshold)
    await scene.opened(scene.shares[-threshold:])


async def test_b19_no_share_is_replaced_alone() -> None:
    """There is no `newShare`: a set is replaced as a whole, and bogus shares prove nothing."""
    scene, shares, _ = await five()
    rekeys = scene.rekeys(await scene.opened(shares[:3]))
    started = await rekeys.start(3, 6, (), True, SYSTEM)
    foreign = await init(MemorySealStore())
    for bogus in foreign:
        with pytest.raises(ShareWrongSetError):
            await rekeys.prove(started.rekey, bogus)
    assert (await rekeys.status(started.rekey)).progress == 0
    await rekeys.cancel(started.rekey, SYSTEM)
    await scene.opened(shares[2:])


async def test_nobody_learns_a_share_from_what_is_shown() -> None:
    """Commitments are public: of 256 random bits a hash tells nothing, and no word is in it."""
    scene, shares, vault = await five()
    await vault.submit(shares[0])
    shown = json.dumps(dict(vault.record())) + repr(vault.status()) + repr(scene.audit.entries)
    for share in shares:
        assert parse_mnemonic(share).value.hex() not in shown
        assert " ".join(share.split()[5:8]) not in shown
