"""Mistakes of operators: one clear line and an exit code. Those of files and flags come before there is a runtime."""

import json
from pathlib import Path

import pytest

from tests.e2e.harness import LOCAL, Fleet, Process
from tests.e2e.origin import Origin


def complaint(process: Process, code: int) -> str:
    """Return the one reason that a process leaves with ``code``."""
    assert process.wait() == code
    (reason,) = process.last_words()
    process.check()
    return reason


@pytest.mark.parametrize("port", ["proxy", "upstream", "admin"])
def test_a_port_in_use(fleet: Fleet, origin: Origin, port: str) -> None:
    flags = dict.fromkeys(("proxy", "upstream", "admin", "cluster.gossip"), 0) | {port: origin.port}
    process = fleet.start("server", *(f"--{name}.bind-addr={LOCAL}:{number}" for name, number in flags.items()))
    assert complaint(process, 1) == (
        f"cannot listen on {port} address '{LOCAL}:{origin.port}': address already in use; "
        f"choose another one with --{port}.bind-addr"
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_all_that_a_server_says_is_json(fleet: Fleet, origin: Origin, workers: str) -> None:
    others = (f"--{name}.bind-addr={LOCAL}:0" for name in ("upstream", "admin", "cluster.gossip"))
    proxy = f"--proxy.bind-addr={LOCAL}:{origin.port}"
    process = fleet.start("server", "--workers", workers, "--log.format", "json", proxy, *others)
    assert process.wait() == 1
    records = [json.loads(line) for line in process.stderr.lines]
    (last,) = [record for record in records if record["message"] == "ended"]
    assert (last["level"], last["subsystem"], last["code"]) == ("error", "process", 1)
    assert last["reason"].startswith("cannot listen on proxy address")
    assert all(record["node_id"].startswith(last["node_id"]) for record in records)


def test_a_certificate_that_cannot_be_read_is_told_in_json(fleet: Fleet) -> None:
    process = fleet.start("server", "--proxy.tls.cert", "/nowhere", "--proxy.tls.key", "/nowhere")
    assert process.wait() == 2
    (line,) = process.stderr.lines
    assert json.loads(line)["reason"].startswith("proxy.tls.cert: cannot read '/nowhere'")


def test_the_last_words_of_text_logs_are_text(fleet: Fleet, origin: Origin) -> None:
    process = fleet.start("forward", "tcp", f"{LOCAL}:{origin.port}", "e", "--log.format", "text")
    assert process.wait() == 1
    assert process.stderr.lines[-1].startswith(f"pico: cannot listen on '{LOCAL}:{origin.port}'")


def test_a_forwarded_port_in_use(fleet: Fleet, origin: Origin) -> None:
    process = fleet.start("forward", "tcp", f"{LOCAL}:{origin.port}", "e")
    assert complaint(process, 1).startswith(f"cannot listen on '{LOCAL}:{origin.port}': address already in use")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("proxy: [", ("server.yaml", "is not YAML")),
        ("proxy:\n  bind_adr: ':1'\n", ("server.yaml:2: unknown key 'proxy.bind_adr'", "'proxy.bind_addr'")),
        ("proxy:\n  timeout: soon\n", ("server.yaml:2", "proxy.timeout")),
        ("proxy:\n  bind_addr: nowhere\n", ("server.yaml:2", "proxy.bind_addr", "the port is missing")),
        ("log:\n  level: loud\n", ("server.yaml:2", "log.level", "wants one of")),
    ],
)
def test_a_bad_file(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    path = tmp_path / "server.yaml"
    path.write_text(text)
    line = complaint(Process("server", "--config.path", str(path)), 2)
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("server", "--config.path", "missing.yaml"), "cannot read 'missing.yaml'"),
        (("server", "--log.level", "loud"), "--log.level: wants one of"),
        (("server", "--proxy.timeout", "soon"), "--proxy.timeout"),
        (("server", "--proxy.bind-addr", "256.0.0.1:99999"), "--proxy.bind-addr"),
        (("server", "--proxy.bind-adr", ":1"), "did you mean '--proxy.bind-addr'?"),
        (("agent", "http", "a/b", "3000"), "it contains '/'"),
        (("agent", "http", "e", "nowhere:port"), "nowhere:port"),
        (("agent", "tcp", "e", "http://localhost:1"), "http://localhost:1"),
        (("agent", "http", "e", "3000", "--connect.url", "ftp://localhost"), "--connect.url"),
        (("forward", "tcp", "5432", "a/b"), "it contains '/'"),
        (
            ("server", "--drain-delay", "9s", "--grace-period", "8s"),
            "drain_delay (9 s) must be shorter than grace_period (8 s), which ends the stop",
        ),
        (("agent", "http", "e"), "missing argument"),
        (("agent", "start"), "no listeners"),
    ],
)
def test_a_bad_command_line(arguments: tuple[str, ...], part: str) -> None:
    assert part.lower() in complaint(Process(*arguments), 2).lower()


def test_what_is_accepted_with_a_warning(fleet: Fleet) -> None:
    server = fleet.server("--cluster.node-id-prefix", "${POD}-", "--drain-delay", "5s", "--grace-period", "4s")
    told = server.process.await_log("values name variables, as they are", level="warning", subsystem="config")
    assert told["keys"] == "cluster.node_id_prefix"
    told = server.process.await_log("a stop cuts drain_delay short: make it shorter than grace_period")
    assert (told["drain_delay_s"], told["grace_period_s"]) == (5.0, 4.0)
    usual = fleet.server("--drain-delay", "0s", "--grace-period", "0s")
    usual.process.await_log("ready")
    assert not usual.process.logged("a stop cuts drain_delay short: make it shorter than grace_period")


def test_an_address_that_this_machine_does_not_have(fleet: Fleet) -> None:
    others = (f"--{name}.bind-addr={LOCAL}:0" for name in ("upstream", "admin", "cluster.gossip"))
    process = fleet.start("server", "--proxy.bind-addr=192.0.2.1:0", *others)
    assert "cannot listen on proxy address '192.0.2.1:0': cannot assign requested address" in complaint(process, 1)
