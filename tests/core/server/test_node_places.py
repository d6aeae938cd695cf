"""Other nodes have places of their own on the proxy port: what clients do there costs them nothing."""

import msgspec

from pico_core.boundary import AcceptFailed, Close, Received, Send, SendEof
from pico_core.config.ports import ProxyConfig
from pico_core.config.server import ServerConfig
from pico_core.server.node import ServerNode
from tests.core.proxy.scene import AGENT, GET, OK
from tests.core.server.test_admission import CLIENT_REFUSED, MOST, client
from tests.core.server.test_peers import FROM_NODE, dial
from tests.core.server.test_proofs import KEYED, NODE_HOST, keyed, proved
from tests.neighbours import know
from tests.play import Data, Nothing, Open, Play, server_play

SMALL = ServerConfig(max_connections=64, proxy=ProxyConfig(max_connections=16))
"""Clients have 16 places, other nodes 24, and 16 while clients have all of theirs."""
HALF_A_HEAD = b"GET / HT"
NODES_MOST = 24
LEFT_TO_NODES = 16
UNPROVEN = 12


def nodes_port(config: ServerConfig = SMALL) -> Play:
    """Return a server that knows node 20 and has an agent for e1."""
    play = server_play(config)
    know(play, 20)
    play.agent_registers(AGENT, "e1")
    return play


def full(play: Play) -> Play:
    """Have 16 clients, with an address each, begin a request: odd numbers from 101 on."""
    for each in range(16):
        play >> client(101 + 2 * each, f"192.0.2.{100 + each}") >> Received(101 + 2 * each, HALF_A_HEAD)
    assert play << Nothing()
    assert play >> client(191, "192.0.2.99") << Send(191, CLIENT_REFUSED) << SendEof(191)
    return play


def counts(play: Play) -> tuple[int, int, int]:
    """Return how many connections have places of clients, of nodes, and of nodes without having shown anything."""
    machine = play.machine
    assert isinstance(machine, ServerNode)
    ports = machine.admission.ports
    return len(ports["proxy"].channels), len(ports["peers"].channels), len(ports["peers"].unproven)


def forwards(play: Play, number: int, request: bytes = FROM_NODE) -> list[object]:
    """Let a connection from the address of node 20 send a request; return what the server does at once."""
    play >> client(number, NODE_HOST) >> Received(number, request)
    return list(play.take())


def test_a_node_gets_a_place_where_clients_have_taken_all() -> None:
    play = full(nodes_port())
    assert isinstance(forwards(play, 201)[-1], Data)
    assert counts(play) == (16, 1, 0)


def test_a_node_has_no_share() -> None:
    """The requests of one client that a node forwards do not use up what the node may have."""
    play = full(nodes_port())
    for number in range(201, 201 + 2 * LEFT_TO_NODES, 2):
        assert isinstance(forwards(play, number)[-1], Data)
    assert counts(play) == (16, LEFT_TO_NODES, 0)
    assert forwards(play, 301)[0] == Send(301, CLIENT_REFUSED), "its places are bounded too"


def test_the_idle_connection_of_a_node_is_kept_while_one_of_a_client_can_be_closed() -> None:
    play = nodes_port()
    play >> client(201, NODE_HOST) >> Received(201, FROM_NODE) << Open(AGENT, 2)
    play.take()
    assert play >> Data(AGENT, 2, OK) << Send(201, OK) >> 1.0
    for each in range(16):
        assert play >> client(101 + 2 * each, f"192.0.2.{100 + each}")
    assert play >> client(191) << Close(101)
    for number in range(401, 455, 2):  # with the first agent, these are all that others leave them
        assert play >> client(number, port="upstream")
    assert play >> client(455, port="upstream") << Close(103), "the machine is full, and the node was idle for longer"
    assert counts(play)[1] == 1


def test_a_system_without_descriptors_costs_idle_clients_before_nodes() -> None:
    play = nodes_port()
    play >> client(201, NODE_HOST) >> Received(201, FROM_NODE) << Open(AGENT, 2)
    play.take()
    assert play >> Data(AGENT, 2, OK) << Send(201, OK) >> 1.0
    for each in range(16):
        play >> client(101 + 2 * each, f"192.0.2.{100 + each}")
    play >> AcceptFailed("admin", "too many open files")
    assert {each.connection for each in play.take() if isinstance(each, Close)} == set(range(101, 133, 2))


def test_a_client_at_the_address_of_a_node_counts_as_a_client_from_its_first_request_on() -> None:
    play = nodes_port()
    play >> client(201, NODE_HOST)
    assert counts(play) == (0, 1, 1)
    play >> Received(201, GET)
    assert counts(play) == (1, 0, 0)


def test_clients_at_the_address_of_a_node_keep_half_of_the_places_of_nodes_at_most() -> None:
    play = full(nodes_port())
    for number in range(201, 201 + 2 * UNPROVEN, 2):
        play >> client(number, NODE_HOST) >> Received(number, HALF_A_HEAD)
    assert play << Nothing()
    assert counts(play) == (16, UNPROVEN, UNPROVEN)
    assert play >> client(301, NODE_HOST) << Send(301, CLIENT_REFUSED) << SendEof(301)


def test_a_client_for_which_there_is_no_place_among_clients_is_served_as_one_that_has_shown_nothing() -> None:
    play = full(nodes_port())
    assert isinstance(forwards(play, 201, GET)[-1], Data)
    assert counts(play) == (16, 1, 1)


def test_a_client_that_has_its_share_among_clients_is_served_as_one_that_has_shown_nothing() -> None:
    """Eight of sixteen places are its share, which counts from the fourteenth on."""
    play = nodes_port()
    for number in range(201, 217, 2):
        forwards(play, number, GET)
    for number in range(101, 113, 2):
        play >> client(number, f"192.0.2.{number}") >> Received(number, HALF_A_HEAD)
    assert counts(play) == (14, 0, 0)
    assert isinstance(forwards(play, 301, GET)[-1], Data)
    assert counts(play) == (14, 1, 1)


def test_a_connection_to_a_node_costs_no_client_while_it_has_a_place() -> None:
    play = server_play(MOST)
    know(play, 20)
    for each in range(16):
        play >> client(101 + 2 * each)
    play >> 1.0
    play.take()
    assert play >> Received(101, GET) << dial(2, 20) << Nothing()


def test_with_a_key_the_places_are_for_those_that_prove_themselves() -> None:
    play, machine = keyed()
    forwards(play, 201)
    assert counts(play) == (1, 0, 0), "the address alone is that of a client"
    play >> Received(201, proved(machine))
    forwards(play, 203, proved(machine))
    assert counts(play)[1:] == (1, 0)


def test_a_node_that_comes_from_another_address_has_its_place_once_it_has_proved_itself() -> None:
    play, machine = keyed()
    play >> client(201, "198.51.100.1")
    assert counts(play) == (1, 0, 0)
    play >> Received(201, proved(machine))
    assert counts(play) == (0, 1, 0)


def test_a_node_that_finds_all_places_of_nodes_taken_stays_among_clients() -> None:
    play, machine = keyed(msgspec.structs.replace(KEYED, max_connections=64))
    for number in range(201, 201 + 2 * NODES_MOST, 2):
        forwards(play, number, proved(machine))
    forwards(play, 301, proved(machine))
    assert counts(play) == (1, NODES_MOST, 0)
