"""Cheats on connections: played on real ones, where n and t make no difference."""

from keyserver.simulation.adversary.rows import Behaviour

B = Behaviour

_STRANGERS = "tests/integration/net/test_strangers.py"
_CONNECTIONS = "tests/integration/net/test_connections.py"
_LINK = "tests/unit/net/test_link.py"
_DRIVER = "tests/unit/engine/test_driver.py"
_TABLE = "tests/unit/engine/test_session_table.py"

TRANSPORT: dict[B, tuple[str, ...]] = {
    B.SILENT: (
        f"{_STRANGERS}::test_a_member_that_never_greets_is_closed_at_the_deadline",
        f"{_CONNECTIONS}::test_a_silent_peer_is_asked_and_then_given_up",
    ),
    B.CRASH: (
        f"{_CONNECTIONS}::test_a_peer_that_has_restarted_is_not_kept_out_by_its_dead_connection",
    ),
    B.BAD_PROOF: (f"{_STRANGERS}::test_whoever_expects_another_node_gets_no_answer",),
    B.FLOOD: (
        f"{_STRANGERS}::test_one_address_gets_four_handshakes_at_a_time_and_frees_them",
        f"{_CONNECTIONS}::test_a_peer_with_many_messages_does_not_starve_another",
    ),
    B.OVERSIZED: (f"{_LINK}::test_software_is_limited", f"{_LINK}::test_malformed"),
    B.EQUIVOCATION: (f"{_STRANGERS}::test_another_node_at_a_dialled_address_brings_no_connection",),
    B.LIED_SET: (f"{_LINK}::test_hello_of_another_protocol_or_cluster",),
    B.LIED_REQUEST: (
        f"{_STRANGERS}::test_messages_that_no_correct_node_sends_close_the_connection",
    ),
}
"""By behaviour: the tests."""
