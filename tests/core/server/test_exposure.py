"""What a node says of what is open: at its start, and where a reload lets more in."""

import pytest

from pico_core.config.load import load
from pico_core.config.server import ServerConfig
from pico_core.machine.parts import LogField
from pico_core.records import Log
from pico_core.server.exposure import (
    FEWER_GUARDS,
    MAX_NAMED,
    OPEN,
    OPEN_TENANTS,
    PLAIN_KEY_SETS,
    UNGUARDED,
    WIDENED,
    warn_of_lost_guards,
    warn_of_open_ports,
)
from pico_core.server.widening import widened
from tests.core.access.keys import SECRET

KEY = f"{{hmac_secret_key: {SECRET!r}}}"


def read(text: str) -> ServerConfig:
    return load(ServerConfig, text, {}, "p.yaml")


def policies(*lines: str) -> ServerConfig:
    return read("policies:\n" + "".join(f"  - {{{line}}}\n" for line in lines))


class Listening:
    """Keeps what it is to log."""

    def __init__(self) -> None:
        self.logs: list[Log] = []

    def log(self, level: str, subsystem: str, message: str, **fields: LogField) -> None:
        self.logs.append(Log(level, subsystem, message, fields))

    def warn(self, subsystem: str, message: str, **fields: LogField) -> None:
        self.log("warning", subsystem, message, **fields)


def told(before: ServerConfig, after: ServerConfig) -> list[Log]:
    """Return what a node logs of its protection when its configuration changes."""
    host = Listening()
    warn_of_lost_guards(host, before, after)
    return host.logs


def told_at_start(config: ServerConfig) -> list[Log]:
    host = Listening()
    warn_of_open_ports(host, config)
    return host.logs


STRICT = (
    'endpoints: [a], basic_auth: ["u:p"], allowed_networks: [10.0.0.0/8], denied_networks: [10.1.0.0/16], '
    "requests_per_second: 2, max_in_flight: 3, max_body_bytes: 9, second_agent: refuse"
)


@pytest.mark.parametrize(
    ("old", "new", "rules"),
    [
        ('basic_auth: ["u:p"], ', "", "basic_auth"),
        ("allowed_networks: [10.0.0.0/8], ", "", "allowed_networks"),
        ("allowed_networks: [10.0.0.0/8]", "allowed_networks: [10.0.0.0/8, 192.0.2.0/24]", "allowed_networks"),
        ("allowed_networks: [10.0.0.0/8]", "allowed_networks: [10.0.0.0/7]", "allowed_networks"),
        ("allowed_networks: [10.0.0.0/8]", "allowed_networks: ['2001:db8::/32']", "allowed_networks"),
        ("denied_networks: [10.1.0.0/16], ", "", "denied_networks"),
        ("denied_networks: [10.1.0.0/16]", "denied_networks: [10.1.0.0/17]", "denied_networks"),
        ("requests_per_second: 2, ", "", "requests_per_second"),
        ("requests_per_second: 2", "requests_per_second: 1, burst: 3", "burst"),
        ("max_in_flight: 3, ", "", "max_in_flight"),
        ("max_in_flight: 3", "max_in_flight: 4", "max_in_flight"),
        ("max_body_bytes: 9", "max_body_bytes: 10", "max_body_bytes"),
        ("second_agent: refuse", "second_agent: warn", "second_agent"),
        ("endpoints: [a]", "endpoints: [b]", ""),
        ('["u:p"]', '["u:p", "v:q"]', None),
        ('["u:p"]', '["u:other"]', None),
        ("allowed_networks: [10.0.0.0/8]", "allowed_networks: [10.0.0.0/9]", None),
        ("denied_networks: [10.1.0.0/16]", "denied_networks: [10.0.0.0/15]", None),
        ("requests_per_second: 2", "requests_per_second: 1", None),
        ("max_body_bytes: 9", "max_body_bytes: 8", None),
    ],
)
def test_a_rule_that_is_lost_or_wider_is_told_with_its_pattern(old: str, new: str, rules: str | None) -> None:
    assert old in STRICT
    found = told(policies(STRICT), policies(STRICT.replace(old, new)))
    every = "allowed_networks, denied_networks, basic_auth, requests_per_second, max_in_flight, max_body_bytes, "
    every += "second_agent"
    if rules is None:
        assert not found
        return
    (log,) = found
    assert (log.level, log.message) == ("warning", WIDENED)
    assert log.fields == {"endpoints": f"a ({rules or every})", "count": 1}


@pytest.mark.parametrize(
    ("before", "after", "patterns"),
    [
        (['endpoints: ["*"], basic_auth: ["u:p"]'], ["endpoints: [a]", 'endpoints: ["*"], basic_auth: ["u:p"]'], ["a"]),
        (['endpoints: [a], basic_auth: ["u:p"]'], ['endpoints: ["*"], basic_auth: ["u:p"]'], []),
        (['endpoints: ["a*"], basic_auth: ["u:p"]'], ['endpoints: ["ab*"], basic_auth: ["u:p"]'], ["a*"]),
        (['endpoints: ["ab*"], burst: 1, requests_per_second: 1'], ["endpoints: ['a*']"], ["ab*"]),
        (["endpoints: [x]", 'endpoints: ["*"], max_body_bytes: 1'], ['endpoints: ["*"], max_body_bytes: 1'], []),
        (["endpoints: [b]", 'endpoints: [a], max_body_bytes: 1'], ['endpoints: [a], max_body_bytes: 1'], []),
    ],
)  # fmt: skip
def test_patterns_are_compared_by_the_policy_that_holds_for_them(
    before: list[str], after: list[str], patterns: list[str]
) -> None:
    found = widened(policies(*before).policies, policies(*after).policies)
    assert [pattern for pattern, _ in found] == patterns


def test_patterns_of_a_tenant() -> None:
    tenants = f"upstream:\n  tenants:\n    - {{id: acme, auth: {KEY}}}\npolicies:\n"
    before = read(tenants + "  - {endpoints: [a], max_body_bytes: 1}\n")
    after = read(tenants + "  - {endpoints: [acme/a]}\n  - {endpoints: [a], max_body_bytes: 1}\n")
    (log,) = told(before, after)
    assert log.fields["endpoints"] == "acme/a (max_body_bytes)"
    assert not told(after, before)


def test_a_pattern_is_not_taken_for_that_of_a_tenant() -> None:
    tenants = f"upstream:\n  tenants:\n    - {{id: acme, auth: {KEY}}}\npolicies:\n"
    before = read(
        tenants + "  - {endpoints: ['ac*'], max_body_bytes: 1}\n  - {endpoints: [acme/a], max_body_bytes: 1}\n"
    )
    after = read(tenants + "  - {endpoints: ['ac*'], max_body_bytes: 1}\n")
    (log,) = told(before, after)
    assert log.fields["endpoints"] == "acme/a (max_body_bytes)"


def test_one_line_names_only_some_of_many_patterns() -> None:
    before = policies(*(f"endpoints: [e{number}], max_body_bytes: 1" for number in range(50)))
    found = told(before, ServerConfig())
    assert [log.message for log in found] == [WIDENED, "no policy holds any more"]
    assert str(found[0].fields["endpoints"]).count("max_body_bytes") == MAX_NAMED
    assert found[0].fields["count"] == 50


def tenants(*lines: str, more: str = "") -> ServerConfig:
    return read("upstream:\n  tenants:\n" + "".join(f"    - {{{line}}}\n" for line in lines) + more)


def test_a_tenant_without_a_key_is_named_at_the_start() -> None:
    (log,) = [log for log in told_at_start(tenants(f"id: acme, auth: {KEY}", "id: globex")) if log.message != OPEN]
    assert log.message == OPEN_TENANTS
    assert log.level == "warning"
    assert log.fields == {"tenants": "globex", "keys": "upstream.tenants[globex].auth", "count": 1}


@pytest.mark.parametrize("more", [f"  auth: {KEY}\n", "  tls: {cert: [c], key: [k], client_cas: ca}\n"])
def test_a_tenant_has_the_keys_of_the_port(more: str) -> None:
    assert OPEN_TENANTS not in {log.message for log in told_at_start(tenants("id: acme", more=more))}


SET = "proxy: {{auth: {{jwks: {{endpoint: '{}'}}}}}}"


@pytest.mark.parametrize("url", ["http://issuer.example.com/keys", "http://192.0.2.1:80/keys?secret"])
def test_a_key_set_from_elsewhere_without_tls_is_named(url: str) -> None:
    fields = {"urls": url.replace("?secret", "?***"), "keys": "proxy.auth.jwks.endpoint"}
    (log,) = [log for log in told_at_start(read(SET.format(url))) if log.message == PLAIN_KEY_SETS]
    assert log.fields == fields
    (log,) = told(ServerConfig(), read(SET.format(url)))
    assert (log.message, log.fields) == (PLAIN_KEY_SETS, fields)
    assert not told(read(SET.format(url)), read(SET.format(url)))


@pytest.mark.parametrize("url", ["https://a.example/k", "http://127.0.0.1:9/k", "http://localhost/k", "http://[::1]/k"])
def test_other_key_sets_are_not(url: str) -> None:
    assert PLAIN_KEY_SETS not in {log.message for log in told_at_start(read(SET.format(url)))}


def test_a_tenant_that_a_reload_opens_is_named() -> None:
    keyed = tenants(f"id: acme, auth: {KEY}", "id: globex")
    assert not told(keyed, keyed)
    (log,) = told(keyed, tenants("id: acme", "id: globex"))
    assert log.message == OPEN_TENANTS
    assert log.fields == {"tenants": "acme", "keys": "upstream.tenants[acme].auth", "count": 1}
    assert not told(keyed, tenants("id: globex")), "a tenant that is gone lets nobody in"
    (log,) = told(keyed, ServerConfig())
    assert (log.message, log.fields) == (FEWER_GUARDS, {"keys": "upstream.tenants[acme].auth", "count": 1})
    port = read(f"upstream: {{auth: {KEY}, tenants: [{{id: acme}}]}}")
    found = {log.message: log.fields for log in told(port, tenants("id: acme"))}
    assert found[OPEN_TENANTS]["tenants"] == "acme"
    assert found[UNGUARDED]["keys"] == "upstream.auth"


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        (f"{{hmac_secret_key: {SECRET!r}, audience: me}}", KEY, "proxy.auth.audience"),
        (f"{{hmac_secret_key: {SECRET!r}, issuer: me}}", KEY, "proxy.auth.issuer"),
        (f"{{hmac_secret_key: {SECRET!r}, require_expiry: true}}", KEY, "proxy.auth.require_expiry"),
    ],
)
def test_a_rule_of_tokens_that_is_gone_is_named(before: str, after: str, keys: str) -> None:
    (log,) = told(read(f"proxy: {{auth: {before}}}"), read(f"proxy: {{auth: {after}}}"))
    assert (log.message, log.fields) == (FEWER_GUARDS, {"keys": keys, "count": 1})


def test_certificates_that_are_not_asked_for_any_more_are_named_also_where_tokens_are() -> None:
    tls = "tls: {{cert: [c], key: [k], client_cas: ca{}}}"
    before = read(f"proxy: {{auth: {KEY}, {tls.format('')}}}")
    for more in (", client_cert: optional",):
        (log,) = told(before, read(f"proxy: {{auth: {KEY}, {tls.format(more)}}}"))
        assert (log.message, log.fields) == (FEWER_GUARDS, {"keys": "proxy.tls.client_cas", "count": 1})
