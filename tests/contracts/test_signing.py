"""Signatures: a majority for public and threshold, then one valid signature of any server."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.contracts import signatures
from tests.contracts.chain import Contract, Receipt, key_of, public_of
from tests.contracts.world import (
    CLIENT,
    ECDSA_SIGNING,
    FEE,
    KEY,
    MESSAGE,
    NEWCOMER,
    OTHER_CLIENT,
    OTHER_KEY,
    OTHER_MESSAGE,
    SCHNORR_SIGNING,
    SERVERS,
    STRANGER,
    Service,
    World,
    deploy_set,
)

A, B, C, D, E = SERVERS
SIGNER, OTHER_SIGNER, THIRD_SIGNER = 201, 202, 203
"""Accounts whose keys stand for server keys."""

Events = list[tuple[str, tuple[object, ...]]]


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of signature."""

    service: Service
    name: str
    sign: Callable[[int, bytes], tuple[bytes, ...]]
    """What `…MessageSigned` takes after the request: the signature comes first."""


ECDSA = Scheme(ECDSA_SIGNING, "Ecdsa", lambda signer, text: (signatures.ecdsa(signer, text),))
SCHNORR = Scheme(SCHNORR_SIGNING, "Schnorr", signatures.schnorr)


@dataclass(frozen=True, slots=True)
class Signing:
    """The service of one scheme, with the subjects of its requests."""

    world: World
    scheme: Scheme
    contract: Contract

    @property
    def lower(self) -> str:
        return self.scheme.name.lower()

    def subject(
        self, key: bytes = KEY, client: int = CLIENT, message: bytes = MESSAGE
    ) -> tuple[bytes, str, bytes]:
        return key, str(key_of(client).address), message

    def request(self, key: bytes = KEY, client: int = CLIENT, message: bytes = MESSAGE) -> Events:
        name = f"signMessage{self.scheme.name}"
        return events(self.contract.send(name, key, message, sender=client, value=FEE))

    def common(
        self,
        server: int,
        signer: int = SIGNER,
        threshold: int = 1,
        subject: tuple[bytes, str, bytes] | None = None,
    ) -> Events:
        args = *(subject or self.subject()), public_of(signer), threshold
        return events(
            self.contract.send(f"{self.lower}SigningCommonRetrieved", *args, sender=server)
        )

    def complete(self, *subjects: tuple[bytes, str, bytes], signer: int = SIGNER) -> None:
        """Bring requests into the personal stage."""
        for subject in subjects:
            for server in (A, B, C):
                self.common(server, signer, subject=subject)

    def sign(
        self,
        server: int,
        signer: int = SIGNER,
        subject: tuple[bytes, str, bytes] | None = None,
    ) -> Events:
        wanted = subject or self.subject()
        args = *wanted, *self.scheme.sign(signer, wanted[2])
        return events(self.contract.send(self._signed, *args, sender=server))

    def refused(self, server: int, *answer: bytes) -> str:
        args = *self.subject(), *answer
        return self.contract.revert_reason(self._signed, *args, sender=server)

    def error(self, server: int) -> Events:
        name = f"{self.lower}SigningError"
        return events(self.contract.send(name, *self.subject(), sender=server))

    def pending(self) -> int:
        return int(self.contract.call(f"{self.lower}SigningRequestsCount"))

    def listed(self) -> list[object]:
        name = f"get{self.scheme.name}SigningRequest"
        return [self.contract.call(name, index) for index in range(self.pending())]

    def required(self, server: int) -> bool:
        name = f"is{self.scheme.name}SigningResponseRequired"
        return bool(self.contract.call(name, *self.subject(), key_of(server).address))

    @property
    def failed(self) -> Events:
        return [(f"{self.scheme.name}SigningError", self.subject())]

    @property
    def asked_for_signature(self) -> Events:
        return [(f"{self.scheme.name}SigningPersonalRequested", self.subject())]

    def signed(self, subject: tuple[bytes, str, bytes], signer: int = SIGNER) -> Events:
        signature = self.scheme.sign(signer, subject[2])[0]
        return [(f"{self.scheme.name}MessageSigned", (*subject, signature))]

    @property
    def _signed(self) -> str:
        return f"{self.lower}MessageSigned"


def events(receipt: Receipt) -> Events:
    return [(event.name, event.args) for event in receipt.events]


@pytest.fixture(params=[ECDSA, SCHNORR], ids=["ecdsa", "schnorr"])
def empty(world: World, request: pytest.FixtureRequest) -> Signing:
    """Without a request."""
    scheme: Scheme = request.param
    return Signing(world, scheme, world.service(scheme.service))


@pytest.fixture
def asked(empty: Signing) -> Signing:
    """With a request in the common stage."""
    empty.request()
    return empty


@pytest.fixture
def personal(asked: Signing) -> Signing:
    """With the common stage completed, t = 1."""
    asked.complete(asked.subject())
    return asked


# --- requests


def test_a_request_is_announced_and_enumerated(empty: Signing) -> None:
    assert empty.request() == [
        (f"{empty.scheme.name}SigningCommonRequested", empty.subject()),
    ]
    assert empty.listed() == [[*empty.subject(), False]]


def test_keys_requesters_and_messages_do_not_get_in_each_others_way(empty: Signing) -> None:
    wanted = [
        (KEY, CLIENT, MESSAGE),
        (OTHER_KEY, CLIENT, MESSAGE),
        (KEY, OTHER_CLIENT, MESSAGE),
        (KEY, CLIENT, OTHER_MESSAGE),
    ]
    for request in wanted:
        empty.request(*request)
    empty.complete(empty.subject(*wanted[2]))

    subjects = [empty.subject(*request) for request in wanted]
    assert empty.listed() == [[*subject, index == 2] for index, subject in enumerate(subjects)]


def test_requests_that_move_in_the_list_keep_what_is_known_of_them(empty: Signing) -> None:
    first, second, third = (bytes([number]) * 32 for number in (1, 2, 3))
    subjects = {message: empty.subject(message=message) for message in (first, second, third)}
    for message in subjects:
        empty.request(message=message)
    empty.complete(subjects[first], signer=OTHER_SIGNER)
    empty.complete(subjects[third], signer=SIGNER)

    name = f"delete{empty.scheme.name}SigningRequest"
    empty.contract.send(name, *subjects[first])

    assert empty.listed() == [[*subjects[third], True], [*subjects[second], False]]
    third_signed = empty.sign(A, SIGNER, subjects[third])
    assert third_signed == empty.signed(subjects[third])
    assert empty.listed() == [[*subjects[second], False]]
    empty.complete(subjects[second], signer=THIRD_SIGNER)
    second_signed = empty.sign(B, THIRD_SIGNER, subjects[second])
    assert second_signed == empty.signed(subjects[second], THIRD_SIGNER)


def test_nothing_of_an_ended_request_is_left_for_the_next(personal: Signing) -> None:
    personal.error(A)
    personal.sign(A)
    personal.request()

    assert personal.listed() == [[*personal.subject(), False]]
    assert [personal.required(server) for server in SERVERS] == [True] * 5
    assert personal.common(A) == personal.common(B) == []
    assert len(personal.common(C)) == 2
    assert personal.error(A) == personal.error(B) == []
    assert personal.error(C) == personal.failed


# --- common stage


def test_a_majority_completes_the_common_stage(asked: Signing) -> None:
    assert asked.common(A) == asked.common(B) == []
    agreed = (*asked.subject(), public_of(SIGNER), 1)
    assert asked.common(C) == [
        (f"{asked.scheme.name}SigningCommonRetrieved", agreed),
        *asked.asked_for_signature,
    ]
    assert asked.common(D) == []
    assert asked.listed() == [[*asked.subject(), True]]


@pytest.mark.parametrize("length", [0, 63, 65])
def test_publics_of_another_length_revert(asked: Signing, length: int) -> None:
    args = *asked.subject(), bytes(length), 1
    name = f"{asked.lower}SigningCommonRetrieved"
    assert asked.contract.revert_reason(name, *args, sender=A) == "InvalidPoint"


def test_a_minority_does_not_stop_the_majority(asked: Signing) -> None:
    assert asked.common(A) == asked.common(B, OTHER_SIGNER) == asked.error(C) == []
    assert asked.common(D) == []
    agreed = (*asked.subject(), public_of(SIGNER), 1)
    assert asked.common(E)[0] == (f"{asked.scheme.name}SigningCommonRetrieved", agreed)
    assert asked.sign(B) == asked.signed(asked.subject())


def test_public_and_threshold_are_agreed_together(asked: Signing) -> None:
    for server, threshold in ((A, 1), (B, 2), (C, 1), (D, 2)):
        assert asked.common(server, threshold=threshold) == []
    assert asked.common(E, threshold=3) == asked.failed


def test_it_ends_as_soon_as_no_majority_is_possible(asked: Signing) -> None:
    assert asked.common(A) == asked.common(B, OTHER_SIGNER) == []
    assert asked.common(C, THIRD_SIGNER) == []
    assert asked.common(D, threshold=2) == asked.failed
    assert asked.pending() == 0


def test_a_majority_of_errors_ends_it(asked: Signing) -> None:
    assert asked.error(A) == asked.error(B) == asked.error(B) == []
    assert asked.error(C) == asked.failed
    assert asked.pending() == 0


def test_a_server_has_one_vote_for_public_or_error(asked: Signing) -> None:
    assert asked.common(A) == asked.error(A) == []
    assert asked.error(B) == asked.common(B) == []
    assert asked.error(C) == []
    assert asked.error(D) == asked.failed


def test_no_signature_before_the_common_stage_is_done(asked: Signing) -> None:
    asked.common(A)
    asked.common(B)
    assert asked.refused(C, *asked.scheme.sign(SIGNER, MESSAGE)) == "CommonStageOpen"


# --- personal stage


@pytest.mark.parametrize("server", [A, E])
def test_one_valid_signature_of_any_server_is_enough(personal: Signing, server: int) -> None:
    assert personal.sign(server) == personal.signed(personal.subject())
    assert personal.pending() == 0


def test_whatever_comes_after_the_end_is_silent(personal: Signing) -> None:
    personal.sign(A)
    assert personal.sign(B) == personal.error(B) == personal.common(B) == []
    assert personal.sign(STRANGER) == personal.error(STRANGER) == []
    garbage = (b"\x01", *personal.scheme.sign(SIGNER, MESSAGE)[1:])
    receipt = personal.contract.send(
        f"{personal.lower}MessageSigned", *personal.subject(), *garbage, sender=B
    )
    assert receipt.events == ()
    assert personal.required(A) is False


def test_strangers_have_no_say(personal: Signing) -> None:
    assert personal.refused(STRANGER, *personal.scheme.sign(SIGNER, MESSAGE)) == "NotKeyServer"
    name = f"{personal.lower}SigningError"
    reason = personal.contract.revert_reason(name, *personal.subject(), sender=STRANGER)
    assert reason == "NotKeyServer"


@pytest.mark.parametrize(("signer", "message"), [(OTHER_SIGNER, MESSAGE), (SIGNER, OTHER_MESSAGE)])
def test_signatures_of_another_key_or_message_are_refused(
    personal: Signing, signer: int, message: bytes
) -> None:
    assert personal.refused(A, *personal.scheme.sign(signer, message)) == "InvalidSignature"
    # Nobody's chance to answer is spoiled, not even that of the same server.
    assert personal.sign(A) == personal.signed(personal.subject())


def test_a_signature_is_of_no_use_for_another_request(empty: Signing) -> None:
    empty.request(KEY)
    empty.request(OTHER_KEY)
    empty.complete(empty.subject(KEY), signer=SIGNER)
    empty.complete(empty.subject(OTHER_KEY), signer=OTHER_SIGNER)
    empty.sign(A, OTHER_SIGNER, empty.subject(OTHER_KEY))

    assert empty.refused(A, *empty.scheme.sign(OTHER_SIGNER, MESSAGE)) == "InvalidSignature"


def test_a_majority_of_errors_ends_the_personal_stage(personal: Signing) -> None:
    assert personal.error(D) == personal.error(D) == personal.error(E) == []
    assert personal.error(A) == personal.failed
    assert personal.pending() == 0


def test_a_minority_of_errors_stops_nobody(personal: Signing) -> None:
    personal.error(A)
    personal.error(B)
    # Also not one of those who reported an error.
    assert personal.sign(A) == personal.signed(personal.subject())


def test_errors_of_the_common_stage_are_forgotten(asked: Signing) -> None:
    asked.error(D)
    asked.error(E)
    asked.complete(asked.subject())
    assert asked.error(A) == asked.error(B) == []
    assert asked.error(C) == asked.failed


def test_responses_stay_required_in_the_personal_stage(personal: Signing) -> None:
    personal.error(A)
    assert [personal.required(server) for server in SERVERS] == [True] * 5


# --- another set of key servers


def test_a_migration_keeps_the_public_and_drops_the_errors(personal: Signing) -> None:
    personal.error(C)
    personal.error(D)
    personal.world.migrate((A, B, C, D, NEWCOMER))

    assert personal.error(C) == personal.asked_for_signature
    assert personal.error(NEWCOMER) == []
    assert personal.refused(E, *personal.scheme.sign(SIGNER, MESSAGE)) == "NotKeyServer"
    assert personal.sign(NEWCOMER) == personal.signed(personal.subject())


@pytest.mark.parametrize("first", ["error", "late common answer"])
def test_the_new_set_is_asked_once(personal: Signing, first: str) -> None:
    personal.world.migrate((A, B, C, D, NEWCOMER))
    call = personal.error if first == "error" else personal.common

    assert call(A) == personal.asked_for_signature
    assert personal.common(B) == personal.error(B) == []
    assert personal.error(C) == ([] if first != "error" else personal.failed)


def test_a_migration_does_not_open_the_common_stage_again(personal: Signing) -> None:
    personal.world.migrate((A, B, C, D, NEWCOMER))
    for server in (A, B, C):
        personal.common(server, OTHER_SIGNER)

    assert personal.listed() == [[*personal.subject(), True]]
    assert personal.refused(A, *personal.scheme.sign(OTHER_SIGNER, MESSAGE)) == "InvalidSignature"
    assert personal.sign(A) == personal.signed(personal.subject())


def test_votes_of_another_set_do_not_complete_the_common_stage(asked: Signing) -> None:
    asked.common(A)
    asked.common(B)
    asked.world.migrate((A, B, C, D, NEWCOMER))

    assert asked.common(C) == asked.common(A) == []
    assert len(asked.common(NEWCOMER)) == 2


def test_a_shrunken_set_decides_alone(personal: Signing) -> None:
    personal.world.migrate((A,))

    assert personal.error(A) == [*personal.asked_for_signature, *personal.failed]


@pytest.mark.parametrize("empty", [ECDSA], indirect=True)
def test_the_votes_of_many_servers_are_counted(empty: Signing) -> None:
    """More than the box of a request has bits for."""
    servers = range(301, 328)
    many = deploy_set(empty.world.chain, servers)
    contract = empty.world.chain.deploy(empty.contract.name, many.address)
    signing = Signing(empty.world, empty.scheme, contract)
    signing.request()
    for server in (*servers[11:23], servers[26]):
        assert signing.common(server) == []
    assert len(signing.common(servers[23])) == 2
    # Other servers than those who voted before, twice.
    for server in (*servers[13:26], *servers[13:26]):
        assert signing.error(server) == []
    assert signing.error(servers[1]) == signing.failed
