"""The declarations: every key with its default as the protocol page gives it, and the rules between keys."""

import random

import pytest

from pico_core.config.agent import AgentConfig, ListenerConfig
from pico_core.config.declare import flag_name, leaves
from pico_core.config.forward import ForwardConfig, PortConfig
from pico_core.config.load import load
from pico_core.config.logs import AccessLogConfig, LogConfig
from pico_core.config.nearest import did_you_mean
from pico_core.config.server import ClusterConfig, ServerConfig, draw_node_id
from pico_core.config.values import Address, Origin
from pico_core.errors import ConfigError

AUTH = {
    f"{section}.{key}": default
    for section in ("proxy.auth", "upstream.auth", "admin.auth")
    for key, default in {
        "hmac_secret_key": "",
        "hmac_secret_key_file": "",
        "rsa_public_key": "",
        "rsa_public_key_file": "",
        "ecdsa_public_key": "",
        "ecdsa_public_key_file": "",
        "eddsa_public_key": "",
        "eddsa_public_key_file": "",
        "audience": "",
        "issuer": "",
        "leeway": "5s",
        "require_expiry": "false",
        "disable_disconnect_on_expiry": "false",
        "jwks.endpoint": "",
        "jwks.cache_ttl": "10m",
        "jwks.timeout": "10s",
        "jwks.root_cas": "",
    }.items()
}
CREDENTIALS = {"connect.token": "", "connect.token_file": "", "connect.tenant_id": ""}
SERVER = {
    **AUTH,
    **{f"{port}.tls.handshake_timeout": "10s" for port in ("proxy", "upstream", "admin")},
    **{f"{port}.tls.max_handshakes": "512" for port in ("proxy", "upstream", "admin")},
    "proxy.wait_timeout": "3s",
    "proxy.max_waiting": "512",
    "upstream.registration_timeout": "10s",
    "proxy.bind_addr": ":8000",
    "proxy.advertise_addr": "",
    "proxy.timeout": "30s",
    "proxy.error_detail": "reason",
    "proxy.public_url": "",
    "proxy.allowed_origins": "",
    "proxy.trusted_proxies": "",
    "proxy.proxy_protocol": "off",
    "proxy.access_log.level": "info",
    "proxy.access_log.disable": "false",
    "proxy.http.read_header_timeout": "10s",
    "proxy.http.idle_timeout": "5m",
    "proxy.http.max_header_bytes": "1048576",
    "proxy.tls.cert": "",
    "proxy.tls.key": "",
    "proxy.tls.client_cas": "",
    "proxy.tls.client_cert": "required",
    "proxy.tls.client.root_cas": "",
    "proxy.tls.client.cert": "",
    "proxy.tls.client.key": "",
    "proxy.tls.client.server_name": "",
    "proxy.tls.client.insecure_skip_verify": "false",
    "upstream.tls.cert": "",
    "upstream.tls.key": "",
    "upstream.tls.client_cas": "",
    "upstream.tls.client_cert": "required",
    "admin.tls.cert": "",
    "admin.tls.key": "",
    "admin.tls.client_cas": "",
    "admin.tls.client_cert": "required",
    "upstream.bind_addr": ":8001",
    "upstream.max_connections": "0",
    "proxy.http.max_unfinished_bytes": "16777216",
    "upstream.registration_rate": "100",
    "upstream.registration_burst": "5000",
    "upstream.trusted_proxies": "",
    "upstream.proxy_protocol": "off",
    "proxy.max_connections": "0",
    "workers": "1",
    "max_connections": "0",
    "max_address_share": "0.5",
    "upstream.max_streams": "1024",
    "upstream.allowed_origins": "",
    "upstream.rebalance.threshold": "0",
    "upstream.rebalance.shed_rate": "0.005",
    "upstream.rebalance.min_conns": "50",
    "admin.bind_addr": ":8002",
    "admin.advertise_addr": "",
    "admin.allowed_hosts": "",
    "cluster.node_id": "",
    "cluster.node_id_prefix": "",
    "cluster.join": "",
    "cluster.join_timeout": "1m",
    "cluster.abort_if_join_fails": "true",
    "cluster.gossip.bind_addr": ":8003",
    "cluster.gossip.advertise_addr": "",
    "cluster.gossip.interval": "100ms",
    "cluster.gossip.max_packet_size": "1400",
    "cluster.gossip.keys": "",
    "cluster.gossip.keys_file": "",
    "log.level": "info",
    "log.subsystems": "",
    "log.format": "auto",
    "tracing.endpoint": "",
    "tracing.sample_ratio": "1",
    "tracing.service_name": "",
    "grace_period": "45s",
    "drain_delay": "5s",
}
AGENT = {
    **CREDENTIALS,
    "connect.url": "http://localhost:8001",
    "connect.timeout": "30s",
    "admin.bind_addr": "",
    "admin.allowed_hosts": "",
    "inspect.bind_addr": "",
    "inspect.token": "",
    "inspect.allowed_hosts": "",
    "inspect.redact": "",
    "inspect.show_secrets": "false",
    "inspect.max_requests": "500",
    "inspect.max_body_bytes": "8388608",
    "inspect.max_memory_bytes": "33554432",
    "connect.proxy_url": "",
    "connect.tls.root_cas": "",
    "connect.tls.cert": "",
    "connect.tls.key": "",
    "connect.tls.server_name": "",
    "connect.tls.insecure_skip_verify": "false",
    "connect.backoff.first": "100ms",
    "connect.backoff.longest": "15s",
    "connect.backoff.after_loss": "1s",
    "connect.backoff.after_loss_for": "5m",
    "log.level": "info",
    "log.subsystems": "",
    "log.format": "auto",
    "tracing.endpoint": "",
    "tracing.sample_ratio": "1",
    "tracing.service_name": "",
    "grace_period": "1m",
}
LISTENER = {
    "endpoint_id": "",
    "addr": "",
    "protocol": "http",
    "timeout": "10s",
    "max_streams": "4096",
    "connections": "1",
    "host_header": "keep",
    "health_check.protocol": "off",
    "health_check.path": "/",
    "health_check.interval": "5s",
    "health_check.timeout": "3s",
    "health_check.failures": "2",
    "access_log.level": "info",
    "access_log.disable": "false",
    "http_client.idle_conn_timeout": "1m30s",
    "http_client.max_idle_conns": "4096",
    "tls.root_cas": "",
    "tls.cert": "",
    "tls.key": "",
    "tls.server_name": "",
    "tls.insecure_skip_verify": "false",
}
FORWARD = {
    **CREDENTIALS,
    "connect.url": "http://localhost:8000",
    "admin.bind_addr": "",
    "admin.allowed_hosts": "",
    "connect.timeout": "30s",
    "connect.proxy_url": "",
    "connect.tls.root_cas": "",
    "connect.tls.cert": "",
    "connect.tls.key": "",
    "connect.tls.server_name": "",
    "connect.tls.insecure_skip_verify": "false",
    "log.level": "info",
    "log.subsystems": "",
    "log.format": "auto",
}
PORT = {"addr": "", "endpoint_id": ""}


@pytest.mark.parametrize(
    ("cls", "defaults"),
    [
        (ServerConfig, SERVER),
        (AgentConfig, AGENT),
        (ListenerConfig, LISTENER),
        (ForwardConfig, FORWARD),
        (PortConfig, PORT),
    ],
)
def test_keys_and_defaults(cls: type, defaults: dict[str, str]) -> None:
    found = list(leaves(cls))
    assert {leaf.name: leaf.shown_default for leaf in found} == defaults
    for leaf in found:
        assert leaf.key.help.endswith(".")
        assert leaf.required or leaf.key.why.endswith(".")


def test_the_same_defaults_as_values() -> None:
    config = ServerConfig()
    assert (config.proxy.timeout_s, config.proxy.http.idle_timeout_s) == (30.0, 300.0)
    assert (config.cluster.gossip.interval_s, config.cluster.join_timeout_s) == (0.1, 60.0)
    assert (config.proxy.bind_addr, config.proxy.advertise_addr) == (Address("", 8000), None)
    assert (config.grace_period_s, config.drain_delay_s) == (45.0, 5.0)
    assert AgentConfig().connect.url == Origin("localhost", 8001, "http")
    assert ForwardConfig().connect.url == Origin("localhost", 8000, "http")


@pytest.mark.parametrize(("drain_s", "grace_s"), [(9.0, 8.0), (9.0, 9.0), (6.0, 0.0), (50.0, 45.0)])
def test_a_drain_delay_that_the_stop_cuts_short(drain_s: float, grace_s: float) -> None:
    with pytest.raises(ConfigError, match=rf"^drain_delay \({drain_s:g} s\).* grace_period \({grace_s:g} s\)"):
        ServerConfig(drain_delay_s=drain_s, grace_period_s=grace_s)


@pytest.mark.parametrize(("drain_s", "grace_s"), [(0.0, 0.0), (8.0, 9.0), (5.0, 60.0), (5.0, 3.0)])
def test_a_drain_delay_within_the_stop_or_the_default(drain_s: float, grace_s: float) -> None:
    assert ServerConfig(drain_delay_s=drain_s, grace_period_s=grace_s).drain_delay_s == drain_s


def test_flag_names() -> None:
    assert flag_name("proxy.http.read_header_timeout") == "--proxy.http.read-header-timeout"


def test_node_id_and_prefix_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        ClusterConfig(node_id="a", node_id_prefix="b")


def test_node_id() -> None:
    assert draw_node_id(ClusterConfig(node_id="fixed"), random.Random(1)) == "fixed"
    drawn = draw_node_id(ClusterConfig(node_id_prefix="pico-0-"), random.Random(1))
    assert drawn.startswith("pico-0-")
    assert len(drawn) == 14
    assert drawn[7:].isalnum()
    assert drawn == draw_node_id(ClusterConfig(node_id_prefix="pico-0-"), random.Random(1))
    assert drawn != draw_node_id(ClusterConfig(node_id_prefix="pico-0-"), random.Random(2))
    assert len(draw_node_id(ClusterConfig(), random.Random(1))) == 7


def test_a_prefix_leaves_room_for_the_random_part() -> None:
    assert load(ServerConfig, None, {"cluster.node_id_prefix": "x" * 248}, "").cluster.node_id_prefix == "x" * 248
    with pytest.raises(ConfigError, match=r"--cluster\.node-id-prefix: wants a prefix of at most 248 characters"):
        load(ServerConfig, None, {"cluster.node_id_prefix": "x" * 249}, "")
    with pytest.raises(ConfigError, match="visible"):
        load(ServerConfig, None, {"cluster.node_id_prefix": "a b"}, "")


def test_a_tcp_listener_takes_no_url() -> None:
    with pytest.raises(ConfigError, match="found the URL 'http://h:1'"):
        ListenerConfig(endpoint_id="a", addr=Origin("h", 1, "http"), protocol="tcp")


@pytest.mark.parametrize(
    ("level", "subsystem", "passes"),
    [
        ("info", "gossip", False),
        ("warning", "gossip", True),
        ("error", "gossip", True),
        ("debug", "gossip", False),
        ("debug", "proxy", True),
        ("debug", "proxy.access", True),
        ("debug", "proxying", False),
        ("debug", "pro", False),
    ],
)
def test_log_filter(level: str, subsystem: str, passes: bool) -> None:
    assert LogConfig(level="warning", subsystems=("proxy",)).passes(level, subsystem) is passes


def test_access_log_filter() -> None:
    quiet = LogConfig(level="warning")
    assert AccessLogConfig().is_enabled(LogConfig(), "proxy.access")
    assert not AccessLogConfig().is_enabled(quiet, "proxy.access")
    assert AccessLogConfig(level="error").is_enabled(quiet, "proxy.access")
    assert not AccessLogConfig(disable=True).is_enabled(LogConfig(), "proxy.access")


def test_nearest() -> None:
    assert did_you_mean("--proxy.timout", ["--proxy.timeout", "--log.level"]) == "; did you mean '--proxy.timeout'?"
    assert did_you_mean("zzz", ["--proxy.timeout"]) == ""
