"""The command line in this process: help that teaches, and one clear line for everything that goes wrong."""

import json
import re
import socket
from pathlib import Path

import pytest

from pico_core.config.gossip_key import gossip_key
from pico_core.config.inspect import DEFAULT_ADDRESS
from pico_tunnel.cli import main
from pico_tunnel.complaints import complain


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command line that must be refused as usage or configuration: exit 2, one line, nothing on stdout."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    if captured.err.startswith("{"):  # the form of the log was known by then
        return str(json.loads(captured.err)["reason"])
    assert captured.err.startswith("pico: ")
    return captured.err.removeprefix("pico: ").rstrip("\n")


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    first, *others = shown(capsys, "--version").splitlines()
    assert first == "pico 0.1.0"
    assert [line.partition(":")[0] for line in others][:3] == ["runtime", "python", "build"]


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_of_the_command(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    text = shown(capsys, *arguments)
    assert "\n    curl -H 'x-pico-endpoint: my-endpoint' http://localhost:8000/\n" in text
    assert re.search(r"\n  server +Run a node of the cluster\.\n", text)


@pytest.mark.parametrize("group", ["agent", "forward"])
def test_a_group_alone_explains_itself(capsys: pytest.CaptureFixture[str], group: str) -> None:
    assert shown(capsys, group) == shown(capsys, group, "--help")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            ("server",),
            ["--proxy.http.read-header-timeout DURATION", "Cluster: the name", "[default: :8003]", "--runtime"],
        ),
        (("agent", "http"), ["ENDPOINT ADDR", "--timeout DURATION", "--http-client.max-idle-conns", "--connect.url"]),
        (("agent", "http"), ["--inspect[=ADDR]", f"{DEFAULT_ADDRESS} by default"]),
        (("agent", "wsgi"), ["--inspect[=ADDR]"]),
        (("agent", "tcp"), ["pico agent tcp my-database 5432", "--access-log.disable[=true|false]"]),
        (("agent", "start"), ["    listeners:\n      - endpoint_id: my-endpoint\n", "--grace-period"]),
        (("forward", "tcp"), ["ADDR ENDPOINT", "[default:\n", "pico forward tcp 5432 my-database"]),
        (("forward", "start"), ["    - addr: 5432\n", "--log.level"]),
    ],
)
def test_help_of_a_command(capsys: pytest.CaptureFixture[str], command: tuple[str, ...], words: list[str]) -> None:
    text = shown(capsys, *command, "--help")
    for word in ["Examples:\n", "--config.expand-env", *words]:
        assert word in text


def test_a_listener_given_as_arguments_is_not_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "agent", "http", "--help")
    assert "--endpoint-id" not in text
    assert "--protocol" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("sever", "there is no command 'sever'; did you mean 'server'? (see 'pico --help')"),
        ("version", "there is no command 'version'; did you mean 'pico --version'? (see 'pico --help')"),
        ("agent help", "there is no command 'help'; did you mean 'pico agent --help'? (see 'pico agent --help')"),
        ("agent htp", "there is no command 'htp'; did you mean 'http'? (see 'pico agent --help')"),
        ("--verson", "there is no flag --verson; did you mean '--version'? (see 'pico --help')"),
        (
            "server --proxy.timout 3s",
            "there is no flag --proxy.timout; did you mean '--proxy.timeout'? (see 'pico server --help')",
        ),
        ("server -x", "there is no flag -x (see 'pico server --help')"),
        (
            "server --connect.token x",
            (
                "there is no flag --connect.token here: it is a flag of 'pico agent' and 'pico forward' "
                "(see 'pico server --help')"
            ),
        ),
        (
            "forward tcp 1 e --proxy.bind-addr :1",
            "there is no flag --proxy.bind-addr here: it is a flag of 'pico server' (see 'pico forward tcp --help')",
        ),
        (
            "server --runtime twisted",
            (
                "invalid value for '--runtime': 'twisted' is not one of 'uvloop', 'asyncio', 'trio' "
                "(see 'pico server --help')"
            ),
        ),
        (
            "server --proxy.timeout 3",
            (
                "--proxy.timeout: wants a duration such as 100ms, 30s or 1m30s, found '3': "
                "a number alone has no unit, write '3s'"
            ),
        ),
        (
            "server --proxy.bind-addr 8000",
            (
                "--proxy.bind-addr: wants an address such as :8000, 127.0.0.1:8000 or [::1]:8000, found '8000': "
                "a port alone is written ':8000'"
            ),
        ),
        (
            "server --cluster.node-id a --cluster.node-id-prefix b",
            "cluster: node_id and node_id_prefix exclude each other; give one of them",
        ),
        (
            "server --cluster.join a --cluster.join b,:1",
            (
                "--cluster.join: wants the address or name of a node, such as 10.26.104.14, pico or 10.26.104.14:8003, "
                "found ':1': the host is missing"
            ),
        ),
        (
            "server --cluster.abort-if-join-fails=no",
            "--cluster.abort-if-join-fails: wants true or false, found 'no'",
        ),
        (
            "server --proxy.access-log.disable false",
            "got unexpected extra argument (false) (see 'pico server --help')",
        ),
        (
            "agent http a/b 3000",
            (
                "argument ENDPOINT: wants an ID of 1 to 255 visible characters without '/', found 'a/b': "
                "it contains '/' (see 'pico agent http --help')"
            ),
        ),
        (
            "agent http a https://localhost --tls.root-cas no-such.pem",
            "listeners[0].tls.root_cas: cannot read 'no-such.pem': No such file or directory",
        ),
        (
            "agent http a 3000 --inspect=:4040",
            (
                "inspect: inspect.bind_addr ':4040' can be reached from other machines: "
                f"set inspect.token too, or listen on {DEFAULT_ADDRESS}"
            ),
        ),
        (
            "agent http --inspect a/b 3000",
            (
                "argument ENDPOINT: wants an ID of 1 to 255 visible characters without '/', found 'a/b': "
                "it contains '/' (see 'pico agent http --help')"
            ),
        ),
        (
            "agent tcp a 5432 --inspect",
            "there is no flag --inspect; did you mean '--inspect.token'? (see 'pico agent tcp --help')",
        ),
        ("agent http a", "missing argument 'ADDR' (see 'pico agent http --help')"),
        (
            "agent http a 3000 --timeout 0s",
            "--timeout: wants a duration such as 100ms, 30s or 1m30s, found '0s': it must be longer than zero",
        ),
        (
            "agent tcp a http://localhost:5432",
            "a tcp listener wants a port or a host:port, found the URL 'http://localhost:5432'",
        ),
        (
            "agent tcp a 5432 --log.level loud",
            "--log.level: wants one of debug, info, warning, error, found 'loud'",
        ),
        (
            "agent start",
            "no listeners: list them in a file given with --config.path, or see 'pico agent http --help'",
        ),
        (
            "forward start",
            "no ports: list them in a file given with --config.path, or see 'pico forward tcp --help'",
        ),
        (
            "forward tcp 99999 a",
            (
                "argument ADDR: wants a port of this machine or an address such as 3000, 127.0.0.1:3000 or :3000, "
                "found '99999': a port is a number up to 65535 (see 'pico forward tcp --help')"
            ),
        ),
        (
            "forward tcp 3000 a --connect.url localhost:8000",
            (
                "--connect.url: wants a URL such as http://localhost:8000, found 'localhost:8000': "
                "it must begin with http:// or https://"
            ),
        ),
        (
            "server --config.path does-not-exist.yaml",
            "--config.path: cannot read 'does-not-exist.yaml': No such file or directory",
        ),
        ("server --config.path .", "--config.path: cannot read '.': Is a directory"),
    ],
)
def test_one_line_says_what_is_wrong(capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    assert refusal(capsys, *arguments.split(" ")) == message


@pytest.mark.parametrize(
    "arguments",
    [
        "agent http e1 3000 http://user:s3cret@host:8001",
        "agent http e1 http://user:s3cret@host:3000",
        "agent start --connect.ulr=http://user:s3cret@host:8001",
        "agent start --connect.url http://user:s3cret@host:8001",
        "forward start http://user:s3cret@host:8001",
        "forward tcp 5432 e1 --connect.url http://user:s3cret/@host",
        "server status cluster nodes --server.url http://user:s3cret@host:8002/path",
        "server http://user:s3cret@host",
        "http://user:s3cret@host",
    ],
)
def test_credentials_are_struck_out(capsys: pytest.CaptureFixture[str], arguments: str) -> None:
    assert "s3cret" not in refusal(capsys, *arguments.split())


def test_a_flag_without_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, "server", "--cluster.join").startswith("option '--cluster.join' requires")


def test_wrong_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.write_text("cluster:\n  node_id_prefix: x-\n\n  jion: [a]\n")
    assert refusal(capsys, "server", "--config.path", str(path)) == (
        f"{path}:4: unknown key 'cluster.jion'; did you mean 'cluster.join'?"
    )
    path.write_text("cluster: [")
    assert refusal(capsys, "server", "--config.path", str(path)).startswith(f"{path}:1: is not YAML: ")
    path.write_bytes(b"log:\n  level: \xff\n")
    assert refusal(capsys, "server", "--config.path", str(path)) == (
        f"{path}: is not UTF-8 text at byte 14; is it the right file?"
    )
    path.write_bytes(b"x" * (5 << 20))
    assert refusal(capsys, "server", "--config.path", str(path)).endswith("is it the right file?")


def test_a_byte_order_mark_is_not_part_of_a_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.write_bytes(b"\xef\xbb\xbflog:\n  level: loud\n")
    assert refusal(capsys, "server", "--config.path", str(path)).startswith(f"{path}:2: log.level: wants one of")


def test_the_environment_is_expanded_only_when_asked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("log:\n  level: ${PICO_TEST_UNDEFINED:loud}\n")
    assert "found 'loud'" in refusal(capsys, "agent", "start", "--config.path", str(path), "--config.expand-env")
    assert "found '${PICO_TEST_UNDEFINED:loud}'" in refusal(capsys, "agent", "start", "--config.path", str(path))


def test_a_complaint_is_always_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("bad\r\nthing \x1b[31m\u2028 here")
    assert capsys.readouterr().err == "pico: bad thing [31m here\n"


def test_an_internal_error_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([3]) == 1  # type: ignore[list-item]  # the mistake
    error = capsys.readouterr().err
    assert error.startswith("pico: internal error, please report it: ")
    assert error.count("\n") == 1


def test_a_port_in_use(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["forward", "tcp", port, "my-database", "--runtime", "asyncio"]) == 1
        last = json.loads(capfd.readouterr().err.splitlines()[-1])
        assert (last["message"], last["code"]) == ("ended", 1)
        assert port in last["reason"]
        local = [f"--{name}.bind-addr=127.0.0.1:0" for name in ("proxy", "upstream", "cluster.gossip")]
        assert main(["server", *local, "--admin.bind-addr", f"127.0.0.1:{port}", "--runtime", "asyncio"]) == 1
        last = json.loads(capfd.readouterr().err.splitlines()[-1])
        assert (last["message"], last["code"]) == ("ended", 1)
        assert port in last["reason"]


def test_a_gossip_key_is_made_anew_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    keys = {shown(capsys, "server", "key") for _ in range(3)}
    assert len(keys) == 3
    assert all(gossip_key(key.rstrip("\n")) for key in keys)
    assert "then put it first on every node" in shown(capsys, "server", "key", "--help")


def test_a_file_of_gossip_keys_that_cannot_be_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing, wrong = tmp_path / "missing", tmp_path / "wrong"
    wrong.write_text("# ours\nhunter2\n")
    found = refusal(capsys, "server", "--cluster.gossip.keys-file", str(missing))
    assert found == f"cluster.gossip.keys_file: cannot read '{missing}': No such file or directory"
    found = refusal(capsys, "server", "--cluster.gossip.keys-file", str(wrong))
    assert found.startswith(f"cluster.gossip.keys_file: {wrong}:2: wants a key of 32 bytes")
    assert "hunter2" not in found
