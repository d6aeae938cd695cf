"""Loading: what wins over what, and one exact line for every kind of mistake."""

import re

import pytest

from pico_core.config.agent import AgentConfig, ListenerConfig
from pico_core.config.declare import Section, flag_name, leaves
from pico_core.config.forward import ForwardConfig
from pico_core.config.load import load
from pico_core.config.server import ServerConfig
from pico_core.config.values import Address, Origin
from pico_core.errors import ConfigError


def refusal(cls: type, text: str | None, flags: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as raised:
        load(cls, text, flags or {}, "pico.yaml")
    return str(raised.value)


def test_a_flag_wins_over_the_file_and_the_file_over_the_default() -> None:
    text = "proxy:\n  timeout: 10s\n  http:\n    idle_timeout: 1m\nlog:\n  level: warn\n"
    config = load(ServerConfig, text, {"proxy.timeout": "5s", "grace_period": "0s"}, "pico.yaml")
    assert config.proxy.timeout_s == 5.0
    assert config.proxy.http.idle_timeout_s == 60.0
    assert config.proxy.http.read_header_timeout_s == 10.0
    assert config.log.level == "warning"
    assert config.grace_period_s == 0.0


def test_the_file_of_the_kubernetes_page() -> None:
    config = load(ServerConfig, "cluster:\n  node_id_prefix: pico-0-\n  join:\n    - pico\n", {}, "pico.yaml")
    assert config.cluster.node_id_prefix == "pico-0-"
    assert config.cluster.join == (Address("pico", 0),)


def test_lists_in_files_and_as_flags() -> None:
    expected = (Address("a", 0), Address("b", 1))
    assert load(ServerConfig, "cluster: {join: [a, 'b:1']}", {}, "").cluster.join == expected
    assert load(ServerConfig, None, {"cluster.join": "a, b:1,"}, "").cluster.join == expected
    assert load(ServerConfig, "cluster: {join: [a]}", {"cluster.join": ""}, "").cluster.join == ()
    assert load(ServerConfig, "cluster:\n  join:\n", {}, "").cluster.join == ()


def test_a_list_of_sections() -> None:
    text = (
        "listeners:\n- {endpoint_id: a, addr: 3000}\n- {endpoint_id: 0123, addr: 'h:1', protocol: tcp, timeout: 1s}\n"
    )
    first, second = load(AgentConfig, text, {}, "").listeners
    assert first == ListenerConfig(endpoint_id="a", addr=Origin("localhost", 3000))
    assert second == ListenerConfig(endpoint_id="0123", addr=Origin("h", 1), protocol="tcp", timeout_s=1.0)


def test_a_block_at_the_top_whose_name_begins_with_x_is_there_for_its_anchor() -> None:
    text = "x-listener: &l {protocol: tcp, timeout: 7s}\nx-any: [1]\nlisteners:\n- {<<: *l, endpoint_id: a, addr: 1}\n"
    (listener,) = load(AgentConfig, text, {}, "").listeners
    assert (listener.protocol, listener.timeout_s, listener.endpoint_id) == ("tcp", 7.0, "a")
    with pytest.raises(ConfigError, match=r"^f:1: listeners\[0\].timeout: wants a duration"):
        load(AgentConfig, text.replace("7s", "7"), {}, "f")
    with pytest.raises(ConfigError, match=r"^unknown flag '--x-any'$"):
        load(AgentConfig, None, {"x-any": "1"}, "f")


@pytest.mark.parametrize(
    "text", [None, "", "proxy:\n", "proxy: ~\nupstream:\n  rebalance:\n", "proxy: {access_log: {}}"]
)
def test_nothing_given_is_the_default(text: str | None) -> None:
    assert load(ServerConfig, text, {}, "pico.yaml") == ServerConfig()
    assert load(AgentConfig, "listeners:\n", {}, "pico.yaml") == AgentConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "cluster:\n  node_id_prefix: x\n\n  jion: [a]\n",
            "pico.yaml:4: unknown key 'cluster.jion'; did you mean 'cluster.join'?",
        ),
        ("cluter:\n  join: [a]\n", "pico.yaml:1: unknown key 'cluter'; did you mean 'cluster'?"),
        (
            "gossip:\n  bind_addr: ':1'\n",
            "pico.yaml:1: unknown key 'gossip'; did you mean 'cluster.gossip'?",
        ),
        ("zzzzzzzz: 1", "pico.yaml:1: unknown key 'zzzzzzzz'"),
        (
            "base: &b\n  level: debug\nlog: *b\n",
            "pico.yaml:1: unknown key 'base'; a block that is there for its anchor has a name that begins with x-",
        ),
        ("log:\n  x-base: {}\n", "pico.yaml:2: unknown key 'log.x-base'"),
        ("'': 1", "pico.yaml:1: unknown key ''"),
        ("proxy:\n  http:\n    nonsense: 1\n", "pico.yaml:3: unknown key 'proxy.http.nonsense'"),
        ("cluster:\n  gossip:\n    goss: 1\n", "pico.yaml:3: unknown key 'cluster.gossip.goss'"),
        ("proxy:\n  cluster: 1\n", "pico.yaml:2: unknown key 'proxy.cluster'; did you mean 'cluster'?"),
        (
            "proxy:\n  interval: 1s\n",
            "pico.yaml:2: unknown key 'proxy.interval'; did you mean 'cluster.gossip.interval'?",
        ),
        ("timeout: 5s\n", "pico.yaml:1: unknown key 'timeout'"),
        (
            "proxy.timeout: 5s\n",
            (
                "pico.yaml:1: unknown key 'proxy.timeout'; keys are nested in a file: "
                "did you mean 'timeout' below 'proxy:'?"
            ),
        ),
        (
            "proxy:\n  http.max_header_byte: 5\n",
            (
                "pico.yaml:2: unknown key 'proxy.http.max_header_byte'; keys are nested in a file: "
                "did you mean 'max_header_bytes' below 'proxy.http:'?"
            ),
        ),
        ("zzz.zzzzz: 1", "pico.yaml:1: unknown key 'zzz.zzzzz'"),
        (
            "proxy:\n  timeout: 30\n",
            (
                "pico.yaml:2: proxy.timeout: wants a duration such as 100ms, 30s or 1m30s, found '30': "
                "a number alone has no unit, write '30s'"
            ),
        ),
        (
            "proxy:\n  timeout:\n",
            "pico.yaml:2: proxy.timeout: wants a duration such as 100ms, 30s or 1m30s, found nothing",
        ),
        (
            "proxy:\n  timeout: [1s]\n",
            "pico.yaml:2: proxy.timeout: wants a duration such as 100ms, 30s or 1m30s, found a list",
        ),
        (
            "proxy:\n  timeout: {a: b}\n",
            "pico.yaml:2: proxy.timeout: wants a duration such as 100ms, 30s or 1m30s, found a mapping",
        ),
        ("proxy: 30\n", "pico.yaml:1: proxy: wants keys and values below it, found one value"),
        ("proxy: [a]\n", "pico.yaml:1: proxy: wants keys and values below it, found a list"),
        (
            "log:\n  subsystems: proxy\n",
            (
                "pico.yaml:2: log.subsystems: wants a list, each item a name such as proxy, or proxy=warning, "
                "found one value"
            ),
        ),
        (
            "log:\n  subsystems:\n  - proxy\n  - [a]\n",
            "pico.yaml:4: log.subsystems[1]: wants a name such as proxy, or proxy=warning, found a list",
        ),
        (
            "cluster:\n  join:\n  - a\n  - ':1'\n",
            (
                "pico.yaml:4: cluster.join[1]: wants the address or name of a node, such as 10.26.104.14, pico or "
                "10.26.104.14:8003, found ':1': the host is missing"
            ),
        ),
        (
            "log:\n  level: loud\n",
            "pico.yaml:2: log.level: wants one of debug, info, warning, error, found 'loud'",
        ),
        (
            "proxy:\n  access_log:\n    disable: yes\n",
            "pico.yaml:3: proxy.access_log.disable: wants true or false, found 'yes'",
        ),
        (
            "proxy:\n  http:\n    max_header_bytes: 1k\n",
            "pico.yaml:3: proxy.http.max_header_bytes: wants a whole number from 1024 to 16777216, found '1k'",
        ),
        (
            "log:\n  subsystems:\n  - proxy.route\n  - prxy=debug\n",
            (
                "pico.yaml:4: log.subsystems[1]: wants one of access, admin, agent, agent.access, cluster, config, "
                "connections, control, driver, forward, gossip, gossip-streams, inspect, join, log, peers, process, "
                "proxy, proxy.access, reload, server, tls, tracing, upstream, workers, found 'prxy'"
            ),
        ),
        (
            "upstream:\n  rebalance:\n    shed_rate: 2\n",
            "pico.yaml:3: upstream.rebalance.shed_rate: wants a number from 0 to 1, found '2'",
        ),
        (
            "log: {}\ncluster:\n  node_id: a\n  node_id_prefix: b\n",
            "pico.yaml:3: cluster: node_id and node_id_prefix exclude each other; give one of them",
        ),
        (" " * (1 << 20) + "x", "pico.yaml: is longer than 1048576 characters; is it the right file?"),
    ],
)
def test_wrong_server_file(text: str, message: str) -> None:
    assert refusal(ServerConfig, text) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("listeners: 3\n", "pico.yaml:1: listeners: wants a list of mappings, found one value"),
        ("listeners: {a: b}\n", "pico.yaml:1: listeners: wants a list of mappings, found a mapping"),
        ("listeners: [a]\n", "pico.yaml:1: listeners[0]: wants keys and values below it, found one value"),
        ("listeners:\n- addr: 1\n", "pico.yaml:2: listeners[0].endpoint_id is missing"),
        ("listeners:\n-\n", "pico.yaml:2: listeners[0].endpoint_id is missing"),
        (
            "listeners:\n- endpoint_id: a\n  addr: 1\n  protocl: tcp\n",
            "pico.yaml:4: unknown key 'listeners[0].protocl'; did you mean 'listeners[0].protocol'?",
        ),
        (
            "listeners:\n- endpoint_id: a/b\n  addr: 1\n",
            (
                "pico.yaml:2: listeners[0].endpoint_id: wants an ID of 1 to 255 visible characters without '/', "
                "found 'a/b': it contains '/'"
            ),
        ),
        (
            "log: {}\nlisteners:\n- {endpoint_id: a, addr: 'http://h:1', protocol: tcp}\n",
            "pico.yaml:3: listeners[0]: a tcp listener wants a port or a host:port, found the URL 'http://h:1'",
        ),
        (
            "connect:\n  tls:\n    cert: a.pem\n",
            "pico.yaml:3: connect.tls: cert and key belong together, found one of them",
        ),
    ],
)
def test_wrong_agent_file(text: str, message: str) -> None:
    assert refusal(AgentConfig, text) == message


def test_wrong_flags() -> None:
    assert refusal(ServerConfig, None, {"proxy.timout": "1s"}) == (
        "unknown flag '--proxy.timout'; did you mean '--proxy.timeout'?"
    )
    assert refusal(ServerConfig, None, {"proxy.http.max_header_bytes": "x"}) == (
        "--proxy.http.max-header-bytes: wants a whole number from 1024 to 16777216, found 'x'"
    )
    assert refusal(ServerConfig, None, {"cluster.node_id": "a", "cluster.node_id_prefix": "b"}) == (
        "cluster: node_id and node_id_prefix exclude each other; give one of them"
    )
    assert refusal(ListenerConfig, None, {"endpoint_id": "a", "addr": "http://h", "protocol": "tcp"}) == (
        "a tcp listener wants a port or a host:port, found the URL 'http://h:80'"
    )
    assert refusal(ListenerConfig, None, {"endpoint_id": "a"}) == "addr is missing"


def test_a_wrong_value_in_the_file_is_found_even_where_a_flag_wins() -> None:
    assert refusal(ServerConfig, "proxy: {timeout: 3}", {"proxy.timeout": "1s"}).startswith(
        "pico.yaml:1: proxy.timeout"
    )


PROTECTS = re.compile(r"\b(auth|tls|keys|keys_file|token|token_file)\b")


@pytest.mark.parametrize("cls", [ServerConfig, AgentConfig])
def test_every_default_reads_back_as_itself(cls: type[ServerConfig | AgentConfig]) -> None:
    flags = {}
    for leaf in leaves(cls):
        if not leaf.name.endswith("client_cert") and (leaf.shown_default or not PROTECTS.search(leaf.name)):
            flags[leaf.name] = leaf.shown_default
    assert len(flags) > 10
    assert load(cls, None, flags, "") == cls()


@pytest.mark.parametrize(
    "text", ["client_cert: required", "client_cert: optional", "client_cert: required, client_cas: ''"]
)
def test_a_rule_about_certificates_without_their_issuer_is_refused(text: str) -> None:
    message = "proxy.tls.client_cert: has no effect without client_cas, which is not given"
    with pytest.raises(ConfigError, match=rf"^pico.yaml:1: {message}"):
        load(ServerConfig, f"proxy: {{tls: {{cert: a, key: b, {text}}}}}", {}, "pico.yaml")
    with pytest.raises(ConfigError, match=r"^--proxy\.tls\.client-cert: has no effect without client_cas"):
        load(ServerConfig, None, {"proxy.tls.client_cert": "required"}, "")
    flags = {"proxy.tls.client_cas": "ca.pem"}
    load(ServerConfig, "proxy: {tls: {cert: a, key: b, client_cert: required}}", flags, "pico.yaml")


PIKO_FILE = """\
proxy:
  auth:
    hmac_secret_key: ""
    rsa_public_key: ""
    ecdsa_public_key: ""
    audience: ""
    issuer: ""
    jwks: {endpoint: ""}
  tls: {cert: "", key: "", client_cas: "", client: {root_cas: "", cert: "", key: ""}}
upstream: {tenants: []}
policies: []
cluster: {gossip: {keys: []}}
"""


def test_the_admin_port_of_an_agent_has_the_name_that_piko_gives_it_too() -> None:
    assert load(AgentConfig, "server: {bind_addr: ':5000'}", {}, "a.yaml").admin.bind_addr == Address("", 5000)
    with pytest.raises(ConfigError, match=r"^a.yaml:1: server is admin; give one of them"):
        load(AgentConfig, "{server: {bind_addr: ':5000'}, admin: {bind_addr: ':5000'}}", {}, "a.yaml")
    with pytest.raises(ConfigError, match="unknown key 'server'"):
        load(ServerConfig, "server: {bind_addr: ':5000'}", {}, "s.yaml")


def test_what_piko_writes_out_empty_is_the_default() -> None:
    assert load(ServerConfig, PIKO_FILE, {}, "pico.yaml") == ServerConfig()
    assert load(AgentConfig, "connect: {token: '', tls: {root_cas: ''}}\n", {}, "pico.yaml") == AgentConfig()


TENANT = "upstream:\n  tenants:\n  - id: acme\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("proxy: {auth: {hmac_secret_key_file: ''}}", "1: proxy.auth.hmac_secret_key_file: is empty"),
        ("proxy: {auth: {eddsa_public_key: ''}}", "1: proxy.auth.eddsa_public_key: is empty"),
        ("proxy:\n  auth:\n    eddsa_public_key:\n", "3: proxy.auth.eddsa_public_key: is empty"),
        (f"{TENANT}    auth: {{hmac_secret_key: ''}}", "4: upstream.tenants[0].auth.hmac_secret_key: is empty"),
        ("cluster: {gossip: {keys: ''}}", "1: cluster.gossip.keys: is empty"),
        ("cluster: {gossip: {keys_file: ''}}", "1: cluster.gossip.keys_file: is empty"),
        ("upstream: {tenants: ''}", "1: upstream.tenants: is empty"),
        ("policies:\n", "1: policies: is empty"),
        ("proxy:\n  auth:\n    hmac_secret_key: #secret\n", "3: proxy.auth.hmac_secret_key: is empty"),
        ("proxy: {auth: {hmac_secret_key: &secret}}", "1: proxy.auth.hmac_secret_key: is empty"),
        ("proxy: {auth: {audience: ~}}", "1: proxy.auth.audience: is empty"),
        ("proxy: {tls: {cert: null}}", "1: proxy.tls.cert: is empty"),
        ("proxy:\n  auth:\n", "2: proxy.auth: is empty: write keys below it, or remove it, or {} where"),
        ("upstream:\n  auth:\n    jwks: ~\n", "3: upstream.auth.jwks: is empty"),
        ("proxy: {tls: null}", "1: proxy.tls: is empty"),
        ("proxy: {tls: {client: ''}}", "1: proxy.tls.client: is empty"),
        (f"{TENANT}    auth:\n", "4: upstream.tenants[0].auth: is empty"),
        ("cluster:\n  gossip:\n", "2: cluster.gossip: is empty"),
        ("policies: [{endpoints: [a], request_headers: }]", "1: policies[0].request_headers: is empty"),
        ("policies: [{endpoints: [a], basic_auth: []}]", "1: policies[0].basic_auth: is empty"),
        ("policies: [{endpoints: [a], basic_auth: ''}]", "1: policies[0].basic_auth: is empty"),
        ("policies: [{endpoints: [a], allowed_networks: []}]", "1: policies[0].allowed_networks: is empty"),
        ("policies: [{endpoints: [a], denied_networks: []}]", "1: policies[0].denied_networks: is empty"),
    ],
)
def test_a_key_that_protects_is_not_left_empty(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(ServerConfig, text, {}, "pico.yaml")
    assert str(caught.value).startswith(f"pico.yaml:{message}")


@pytest.mark.parametrize(
    "text",
    [
        "proxy: {auth: {hmac_secret_key:canary}}",
        "proxy:\n  auth:\n    hmac_secret_key=canary: x\n",
        "proxy: {auth: {hmac_secret_key: *canary}}",
        "proxy: {auth: {hmac_secret_key: !canary x}}",
        "policies: [{endpoints: [a], request_headers: {add: ['X-Key=canary']}}]",
        "policies: [{endpoints: [a], request_headers: {add: ['X-Key canary']}}]",
        "policies: [{endpoints: [a], response_headers: {remove: ['X-Key: canary']}}]",
    ],
)
def test_a_secret_that_is_not_where_it_belongs_is_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(ServerConfig, text, {}, "pico.yaml")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["proxy.auth.hmac_secret_key", "cluster.gossip.keys", "proxy.tls.client_cas"])
@pytest.mark.parametrize("value", ["", " ", ",", " , "])
def test_a_flag_that_protects_is_not_left_empty(name: str, value: str) -> None:
    """Such as one whose value is a variable of the shell that is not set."""
    with pytest.raises(ConfigError, match=rf"^{flag_name(name)}: is empty"):
        load(ServerConfig, None, {name: value}, "")


NO_TLS = "tls.root_cas has no effect: url is not https://"


@pytest.mark.parametrize(
    ("cls", "text", "message"),
    [
        (AgentConfig, "connect: {url: 'http://h', tls: {root_cas: a.pem}}", f"1: connect: {NO_TLS}"),
        (ForwardConfig, "connect: {tls: {root_cas: a.pem}}", f"1: connect: {NO_TLS}"),
        (
            AgentConfig,
            "listeners: [{endpoint_id: a, addr: 'http://h', tls: {insecure_skip_verify: true}}]",
            "1: listeners[0]: tls.insecure_skip_verify has no effect: addr is not https://",
        ),
        (
            ServerConfig,
            "proxy: {tls: {client: {server_name: a}}}",
            "1: proxy.tls.client.server_name has no effect: neither proxy.tls nor admin.tls has a certificate",
        ),
    ],
)
def test_tls_towards_what_does_not_speak_it_is_refused(cls: type[Section], text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(cls, text, {}, "pico.yaml")
    assert str(caught.value) == f"pico.yaml:{message}"
    text = text.replace("http://", "https://").replace("{tls: {root_cas", "{url: 'https://h', tls: {root_cas")
    load(cls, text.replace("{tls: {client", "{tls: {cert: a, key: b, client"), {}, "")


@pytest.mark.parametrize("cert", ["a.pem", "[a.pem]"])
def test_a_certificate_alone_needs_no_list(cert: str) -> None:
    config = load(ServerConfig, f"proxy: {{tls: {{cert: {cert}, key: a.key}}}}\n", {}, "")
    assert (config.proxy.tls.cert, config.proxy.tls.key) == (("a.pem",), ("a.key",))
