"""``pico server check`` and ``pico server password``: one readable answer, and an exit code that scripts can use."""

from pathlib import Path

import pytest

from pico_core.config.policies import user
from pico_tunnel.cli import main
from tests.certificates import issue

CONFIG = """\
proxy: {allowed_origins: ["https://app.example.com"]}
policies:
  - endpoints: [my-endpoint, billing-*]
    allowed_networks: [private]
    denied_networks: [10.1.0.0/16]
    requests_per_second: 5
    max_in_flight: 7
    max_body_bytes: 100
    basic_auth: ["alice:${PASSWORD:secret}"]
    response_headers: {add: ["X-Frame-Options: DENY"], remove: [Server]}
  - endpoints: ["db-*"]
    denied_networks: [loopback]
"""
ALICE = "Authorization: Basic YWxpY2U6c2VjcmV0"

REQUESTS = [
    ("GET http://my-endpoint.example.com/x", "10.1.2.3", [ALICE], "403 this client's network is not allowed here"),
    ("GET http://my-endpoint.example.com/x", "10.2.2.3", [], "401 wrong or missing credentials"),
    ("GET https://Billing-7.example.com", "10.2.2.3", [ALICE], "passes"),
    ("PUT http://x/", "10.2.2.3", ["x-pico-endpoint: billing-7", ALICE, "Content-Length: 101"], "413 request body too"),
    ("GET http://other.example.com/", "8.8.8.8", [], "passes"),
    ("GET http://10.0.0.1/", "8.8.8.8", [], "400 missing endpoint id"),
    ("GET http://a b/", "8.8.8.8", [], "400 malformed or repeated Host"),
    ("GET http://pico/_pico/v1/tcp/db-1", "127.0.0.1", [], "403 this client's network is not allowed here"),
    ("GET http://pico/_pico/v1/tcp/db-1", "10.0.0.1", [], "passes"),
    ("GET http://pico/_pico/v1/tcp/db-1", "10.0.0.1", ["Origin: http://evil.example"], "403 pages of this Origin"),
    ("GET http://pico/_pico/v1/tcp/db-1", "10.0.0.1", ["Origin: https://app.example.com"], "passes"),
]


PROXY_TLS = {"proxy.tls.cert": "cert", "proxy.tls.key": "key"}
UPSTREAM_TLS = {"upstream.tls.cert": "cert", "upstream.tls.key": "key"}


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "server.yaml"
    file.write_text(CONFIG)
    return str(file)


@pytest.mark.parametrize(("request_line", "client", "fields", "answer"), REQUESTS)
def test_what_a_request_would_meet(
    capsys: pytest.CaptureFixture[str], path: str, request_line: str, client: str, fields: list[str], answer: str
) -> None:
    given = [each for field in fields for each in ("--header", field)]
    arguments = ["server", "check", "--config.path", path, "--config.expand-env", "--request", request_line]
    assert main([*arguments, "--client", client, *given]) == (0 if answer == "passes" else 1)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"{path}: good, 2 policies"
    assert shown[-1].startswith(f"answer:           {answer}")


def test_every_part_is_explained(capsys: pytest.CaptureFixture[str], path: str) -> None:
    arguments = ["server", "check", "--config.path", path, "--config.expand-env"]
    main([*arguments, "--request", "GET http://billing-1.example.com/", "--client", "192.168.0.1"])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "request:          GET http://billing-1.example.com/ from 192.168.0.1",
        "endpoint:         billing-1",
        "policy:           policies[0], for billing-*",
        "network:          192.168.0.1 is let in: allowed private; denied 10.1.0.0/16",
        "rate:             5 a second, 5 at once, else 429",
        "credentials:      missing or wrong; the users are alice",
        "in flight:        7 of one client, else 429",
        "body:             at most 100 bytes",
        "response headers: add X-Frame-Options: DENY; remove Server",
        "answer:           401 wrong or missing credentials",
    ]


def test_a_good_configuration(capsys: pytest.CaptureFixture[str], path: str) -> None:
    assert main(["server", "check"]) == 0
    assert capsys.readouterr().out == "the defaults: good, 0 policies\n"
    assert main(["server", "check", "--config.path", path, "--config.expand-env"]) == 0
    assert capsys.readouterr().out == f"{path}: good, 2 policies\n"


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("polices:\n", [], "server.yaml:1: unknown key 'polices'; did you mean 'policies'?"),
        ("cluster: {node_id: a, node_id_prefix: b}\n", [], "exclude each other"),
        (CONFIG, [], "user 'alice': its value is the name of an environment variable: start with --config.expand-env"),
        (CONFIG, ["--request", "GET /x", "--client", "::1"], "--request: wants a method and a URL"),
        (CONFIG, ["--request", "GET http://a.b/"], "--client: wants the IP address"),
        (CONFIG, ["--request", "GET http://a.b/", "--client", "localhost"], "--client: wants the IP address"),
        (CONFIG, ["--client", "::1"], "give one with --request"),
        (CONFIG, ["--proxy.timeout", "5"], "--proxy.timeout: wants a duration"),
    ],
)
def test_what_cannot_be_used(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, arguments: list[str], message: str
) -> None:
    file = tmp_path / "server.yaml"
    file.write_text(text)
    expands = ["--config.expand-env"] if arguments else []
    assert main(["server", "check", "--config.path", str(file), *expands, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"proxy.tls.cert": "none", "proxy.tls.key": "key"}, "proxy.tls.cert: cannot read '{none}'"),
        ({"proxy.tls.cert": "cert", "proxy.tls.key": "other"}, "proxy.tls.key: '{other}' is not the key of the"),
        ({"upstream.tls.client-cas": "none"} | UPSTREAM_TLS, "upstream.tls.client_cas: cannot read '{none}'"),
        ({"proxy.tls.client.root-cas": "none"} | PROXY_TLS, "proxy.tls.client.root_cas: cannot read '{none}'"),
        (
            {"proxy.tls.client.cert": "cert", "proxy.tls.client.key": "other"} | PROXY_TLS,
            "proxy.tls.client.key: '{other}' is not the key of the certificate in '{cert}'",
        ),
        ({"cluster.gossip.keys-file": "none"}, "cluster.gossip.keys_file: cannot read '{none}'"),
        ({"cluster.gossip.keys-file": "short"}, "cluster.gossip.keys_file: {short}:1: wants a key of 32 bytes"),
        ({"cluster.gossip.keys-file": "binary"}, "cluster.gossip.keys_file: {binary}: is not UTF-8 text at byte 0"),
    ],
)
def test_files_are_read_as_a_start_reads_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flags: dict[str, str], message: str
) -> None:
    own, other = issue(tmp_path, "a.example"), issue(tmp_path, "b.example")
    short, binary = tmp_path / "short", tmp_path / "binary"
    short.write_text("abcde")
    binary.write_bytes(b"\xff\xfe\x00")
    paths = {"cert": own.cert, "key": own.key, "other": other.key, "none": str(tmp_path / "none")}
    paths |= {"short": str(short), "binary": str(binary)}
    assert main(["server", "check", *(f"--{name}={paths[value]}" for name, value in flags.items())]) == 2
    checked = capsys.readouterr()
    assert checked.out == ""
    assert message.format(**paths) in checked.err
    start = ["server", "--log.format=text", *(f"--{name}={paths[value]}" for name, value in flags.items())]
    assert main(start) == 2
    assert capsys.readouterr().err == checked.err, "as the start says it"


def test_a_password_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["server", "password", "alice"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    password, line = first.removeprefix("password:    "), second.removeprefix("basic_auth:  ")
    alice = user(line)
    assert alice.name == "alice"
    assert alice.has(password.encode())
    assert not alice.has(b"")
    assert password not in line
    assert main(["server", "password", "a:b"]) == 2
    assert "a user's name has no colon" in capsys.readouterr().err
