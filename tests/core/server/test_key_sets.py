"""Key sets: when they are fetched, and what happens while they cannot be had."""

from pico_core.boundary import Connect, ConnectFailed, FileRead, ReadFile, Received, Tick
from tests.core.access.keys import NOW_S, part, token
from tests.core.access.test_keys import key_set, member
from tests.core.proxy.scene import client_joins
from tests.core.server.tokens import client_numbers, fetches, get, of_set, published, refusal_of, shows, texts, with_set
from tests.play import Nothing

# --- key sets ---


def test_a_set_is_fetched_at_the_start_and_again() -> None:
    play, asked_for = with_set(of_set(cache_ttl_s=60.0))
    (connect,) = asked_for
    assert isinstance(connect, Connect)
    assert (connect.host, connect.port, connect.tls) == ("192.0.2.50", 80, "")
    assert refusal_of(play, "rsa", "rsa") == b"503", "no token can be verified yet, which is not its fault"
    assert refusal_of(play, "rsa") == b"503"
    published(play, connect.connection, key_set(member("rsa")))
    play.take()
    assert refusal_of(play, "rsa", "rsa") == b""
    play >> 59.0
    assert not [each for each in play.take() if isinstance(each, Connect) and each.host == "192.0.2.50"]
    play >> 61.0
    assert [each for each in play.take() if isinstance(each, Connect) and each.host == "192.0.2.50"]


def test_a_set_at_https_names_a_profile() -> None:
    _, (connect,) = with_set(of_set("https://192.0.2.50/keys"))
    assert isinstance(connect, Connect)
    assert (connect.port, connect.tls) == (443, "jwks")


def test_a_set_that_cannot_be_had_is_tried_again_and_the_last_one_stays() -> None:
    play, (connect,) = with_set(of_set(cache_ttl_s=30.0))
    assert isinstance(connect, Connect)
    published(play, connect.connection, key_set(member("rsa")))
    play >> 31.0
    not_a_set = key_set({"kty": "oct"})
    for pause_s, content, status in (
        (5, b"", b""),
        (10, b"<html>", b"200 OK"),
        (20, b"gone", b"404 Not Found"),
        (30, not_a_set, b"200 OK"),
    ):
        (connection,) = fetches(play)
        if status:
            published(play, connection, content, status)
        else:
            play >> ConnectFailed(connection, "connection refused")
        play >> play.now + pause_s - 0.1
        assert not fetches(play)
        play >> play.now + 0.2
    play >> Tick(NOW_S)
    assert refusal_of(play, "rsa", "rsa") == b""
    warnings = [
        log.fields["reason"] for log in play.logs if log.message.startswith("the key set cannot be read: the last")
    ]
    assert warnings[0] == "connection refused"
    assert "it is not a key set: it is not JSON" in warnings
    assert "the answer was 404" in warnings


def test_pauses_between_tries_grow_to_a_minute() -> None:
    play, (connect,) = with_set(of_set(cache_ttl_s=600.0))
    assert isinstance(connect, Connect)
    connection = connect.connection
    for pause_s in (5, 10, 20, 40, 60, 60):
        play >> ConnectFailed(connection, "connection refused")
        play >> play.now + pause_s - 0.1
        assert not fetches(play)
        play >> play.now + 0.2
        (connection,) = fetches(play)


def test_an_unknown_kid_fetches_the_set_but_not_often() -> None:
    play, (connect,) = with_set(of_set())
    assert isinstance(connect, Connect)
    published(play, connect.connection, key_set(member("rsa")))
    assert refusal_of(play, "ecdsa", "ecdsa") == b"401", "it was fetched a moment ago"
    play >> 20.0 >> Tick(NOW_S)
    play.take()
    client_joins(play, 51) >> Received(51, get(shows(token(kind="ecdsa", kid="ecdsa"))))
    commands = play.take()
    (again,) = [each for each in commands if isinstance(each, Connect)]
    (said,) = texts(commands)
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in said
    published(play, again.connection, key_set(member("rsa"), member("ecdsa")))
    assert refusal_of(play, "ecdsa", "ecdsa") == b""
    for kid in ("x", "y", "z"):
        assert refusal_of(play, "eddsa", kid) == b"401"
    assert not fetches(play)


def test_garbage_and_wrong_signatures_never_fetch_a_set() -> None:
    play, (connect,) = with_set(of_set())
    assert isinstance(connect, Connect)
    published(play, connect.connection, key_set(member("rsa")))
    play >> 100.0 >> Tick(NOW_S)
    play.take()
    header, claims, _ = token(kind="rsa", kid="rsa").split(".")
    for text in ("a.b.c", f"{header}.{claims}.{part(b'0' * 256)}", token(), token(kind="ecdsa")):
        client = next(client_numbers)
        client_joins(play, client) >> Received(client, get(shows(text)))
        assert [b"invalid token" in said for said in texts(play.take())] == [True]
    assert play << Nothing()


def test_a_set_in_a_file_is_there_at_once() -> None:
    path = "/etc/pico/keys.json"
    play, asked_for = with_set(of_set("file://" + path, key_set(member("rsa"))))
    assert not asked_for
    assert refusal_of(play, "ecdsa", "ecdsa") == b"503", "the file may have changed since the start"
    assert refusal_of(play, "rsa", "rsa") == b""


def test_a_file_that_changes() -> None:
    path = "/etc/pico/keys.json"
    play, _ = with_set(of_set("file://" + path, key_set(member("rsa"))))
    play >> 10.5
    (read,) = [each for each in play.take() if isinstance(each, ReadFile)]
    assert (read.path, read.max_bytes) == (path, 262_144)
    play >> FileRead(read.query, key_set(member("ecdsa")), "") >> Tick(NOW_S)
    assert refusal_of(play, "ecdsa", "ecdsa") == b""
    play >> 21.0
    (read,) = [each for each in play.take() if isinstance(each, ReadFile)]
    play >> FileRead(read.query, b"", "No such file or directory") >> Tick(NOW_S)
    assert refusal_of(play, "ecdsa", "ecdsa") == b""
