"""Policies at work: which of them holds for an endpoint, and whether a request of a client may pass.

The node that a client sends to asks, since it knows the client. A node that gets the request from another one asks
again, about the client that the other one tells, unless that has proved to be a Pico node of the cluster: without a
gossip key any program at a member's address can say that a request was forwarded.

Order: networks, rate, credentials, requests in flight, body. So guesses of a password are limited by the rate, and a
client that is not let in holds no place.
"""

import binascii
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from pico_core.client_group import client_group
from pico_core.config.networks import Networks, address_of
from pico_core.config.policies import PolicyConfig, User, covers, digest_of
from pico_core.http.body import BODY_TOO_LONG
from pico_core.http.message import RequestHead
from pico_core.proxy.exchange import Exchange
from pico_core.server.address_rate import AddressRate
from pico_core.server.field_edits import EditedDownstream, FieldEdit, RememberedFields
from pico_core.server.tenants import split

MAX_VERDICTS = 4_096
"""Endpoints, and addresses for each policy, of which the verdict is remembered; then all are decided anew."""

IN_FLIGHT_RETRY_S = 1
"""A request of the client may end at any time."""

NETWORK_REASON = "this client's network is not allowed here"
RATE_REASON = "too many requests of this client"
CREDENTIALS_REASON = "wrong or missing credentials"
IN_FLIGHT_REASON = "too many requests of this client in flight"

DENIAL_LABELS = ("network", "rate", "credentials", "in_flight", "body")
"""The label values of the metric."""

_AUTHORIZATION = re.compile(rb"(?im)^authorization:([^\r\n]*+)\r$")
_BASIC = re.compile(rb"(?i:basic) +([A-Za-z0-9+/]{1,2048}={0,2})")
_UNKNOWN_USER = User("", "", digest_of("", b""))
"""Compared with where the user is unknown, so that the time does not tell which users exist."""


class Denial(msgspec.Struct, frozen=True):
    """Why a request may not pass: the metric's label, and the answer with its field lines."""

    label: str
    status: int
    reason: str
    fields: bytes = b""


NETWORK_DENIED = Denial("network", 403, NETWORK_REASON)
TOO_MANY_IN_FLIGHT = Denial("in_flight", 429, IN_FLIGHT_REASON, b"Retry-After: %d\r\n" % IN_FLIGHT_RETRY_S)
BODY_DENIED = Denial("body", 413, BODY_TOO_LONG)


class Policy:
    """One policy, and how much its clients use at present.

    ``index`` is its place in the configuration, ``burst`` how many requests of a client may come at once.
    """

    __slots__ = (
        "_edit",
        "_known",
        "_networks",
        "_rate",
        "_users",
        "burst",
        "config",
        "in_flight",
        "index",
        "response_edit",
    )

    def __init__(self, config: PolicyConfig) -> None:
        self.config = config
        self.index = 0
        self.in_flight: Counter[str] = Counter()
        self.response_edit = FieldEdit.of(config.response_headers)
        self._edit = FieldEdit.of(config.request_headers, *(("Authorization",) if config.basic_auth else ()))
        self._users = {each.name.encode(): each for each in config.basic_auth}
        self._known = RememberedFields[bytes]()
        self._networks: dict[str, bool] = {}
        rate = config.requests_per_second
        self.burst = config.most_at_once
        self._rate = AddressRate(rate, self.burst) if rate else None

    def named(self, endpoint: str) -> str:
        """Return what operators are told of the policy that holds for ``endpoint``: its place, and the pattern."""
        pattern = next(each for each in self.config.endpoints if covers(each, endpoint))
        return f"policies[{self.index}], for {pattern}"

    def lets_in(self, host: str) -> bool:
        """Say whether the client's network may use the endpoint. An address that is not one belongs to no network."""
        verdict = self._networks.get(host)
        if verdict is None:
            if len(self._networks) >= MAX_VERDICTS:
                self._networks.clear()
            verdict = self._networks[host] = self._judge(host)
        return verdict

    def _judge(self, host: str) -> bool:
        allowed, denied = self.config.allowed_networks, self.config.denied_networks
        address = address_of(host)
        if address is None:
            return not allowed and not denied
        if address in Networks(denied):
            return False
        return not allowed or address in Networks(allowed)

    def knows(self, head: RequestHead) -> bool:
        """Say whether a request has the credentials of a user (RFC 7617). Right ones are remembered."""
        return bool(self._credentials(head))

    def _credentials(self, head: RequestHead) -> bytes:
        """Return the credentials of a request if they are those of a user, else nothing."""
        fields = head.credentials or head.fields
        known = self._known.get(fields)
        if known:
            return known
        values = [head.credentials] if head.credentials else _AUTHORIZATION.findall(fields)
        credentials = values[0].strip(b" \t") if len(values) == 1 else b""
        if not self._is_user(credentials):
            return b""
        self._known.put(fields, credentials)
        return credentials

    def _is_user(self, credentials: bytes) -> bool:
        match = _BASIC.fullmatch(credentials)
        try:
            name, _, password = binascii.a2b_base64(match[1], strict_mode=True).partition(b":") if match else (b"",) * 3
        except binascii.Error:
            return False
        return self._users.get(name, _UNKNOWN_USER).has(password) and name in self._users

    def denial(self, exchange: Exchange, client: str, now: float) -> Denial | None:
        """Return why a request may not pass, and count it against its client's rate; ``None`` where it may."""
        config = self.config
        if (config.allowed_networks or config.denied_networks) and not self.lets_in(client):
            return NETWORK_DENIED
        wait_s = self._rate.take(client, now) if self._rate is not None else 0
        if wait_s:
            return Denial("rate", 429, RATE_REASON, b"Retry-After: %d\r\n" % wait_s)
        if self._users:
            credentials = self._credentials(exchange.head)
            if not credentials:
                return Denial("credentials", 401, CREDENTIALS_REASON, _challenge(exchange.endpoint))
            exchange.head.credentials = credentials
        if config.max_in_flight and self.in_flight[client_group(client)] >= config.max_in_flight:
            return TOO_MANY_IN_FLIGHT
        most_bytes = config.max_body_bytes
        if most_bytes and max(exchange.head.content_length, exchange.received_bytes) > most_bytes:
            return BODY_DENIED
        return None

    def apply(self, exchange: Exchange) -> None:
        """Change the request as the policy says, before it is sent anywhere."""
        if self._edit is not None:
            exchange.head = self._edit.of_request(exchange.head)
        if self.config.max_body_bytes and not exchange.request_done and exchange.head.content_length < 0:
            exchange.downstream.limit_request(self.config.max_body_bytes)


class Policies:
    """All policies of a node. Next, if there are ``any``, for each request: ``begin``, and in its end ``finished``.

    ``held`` are the requests that hold a place of their client.
    """

    def __init__(self, configs: Sequence[PolicyConfig]) -> None:
        self.denials = dict.fromkeys(DENIAL_LABELS, 0)
        self.any = False
        self._all: dict[PolicyConfig, Policy] = {}
        self._names: dict[str, Policy] = {}
        self._prefixes: dict[str, Policy] = {}
        self._lengths: list[int] = []
        self._remembered: dict[str, Policy | None] = {}
        self.held: dict[Exchange, tuple[Policy, str]] = {}
        self.configure(configs)

    def configure(self, configs: Sequence[PolicyConfig]) -> None:
        """Let these policies hold from the next request on. One that was there before goes on counting.

        Requests in flight count for what holds for their endpoint now: a change does not double a client's share.
        """
        before, self._all = self._all, {}
        self._names, self._prefixes, self._remembered = {}, {}, {}
        for index, config in enumerate(configs):
            policy = self._all[config] = before.get(config) or Policy(config)
            policy.index = index
            for pattern in config.endpoints:
                table = self._prefixes if pattern.endswith("*") else self._names
                table.setdefault(pattern.removesuffix("*"), policy)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})
        self.any = bool(configs)
        for exchange, (older, group) in list(self.held.items()):
            newer = self.of(exchange.endpoint)
            if newer is not None and newer is not older and newer.config.max_in_flight:
                self.finished(exchange)
                self._hold(exchange, newer, group)

    def __iter__(self) -> Iterator[Policy]:
        """Iterate over the policies that hold at present, in their order."""
        return iter(self._all.values())

    def of(self, endpoint: str) -> Policy | None:
        """Return the policy that holds for an endpoint, by its name inside the cluster: the first that has it."""
        try:
            return self._remembered[endpoint]
        except KeyError:
            if len(self._remembered) >= MAX_VERDICTS:
                self._remembered.clear()
            policy = self._remembered[endpoint] = self._first(endpoint)
            return policy

    def _first(self, endpoint: str) -> Policy | None:
        tenant, bare = split(endpoint)
        found = [self._names.get(endpoint), self._names.get(bare)]
        found += [self._prefixes.get(bare[:length]) for length in self._lengths if length <= len(bare)]
        if tenant:  # only patterns with a tenant are compared with one: pa* is not for the endpoints of the tenant pat
            found += [self._prefixes.get(endpoint[:length]) for length in self._lengths if length > len(tenant)]
        return min((each for each in found if each is not None), key=lambda policy: policy.index, default=None)

    def begin(self, exchange: Exchange, client: str, now: float) -> Denial | None:
        """Ask whether a request of ``client`` may pass, and change it as the policy of its endpoint says."""
        policy = self.of(exchange.endpoint)
        if policy is None:
            return None
        if policy.response_edit is not None:
            exchange.downstream = EditedDownstream(exchange.downstream, policy.response_edit)
        denial = policy.denial(exchange, client, now)
        if denial is not None:
            self.denials[denial.label] += 1
            return denial
        policy.apply(exchange)
        if policy.config.max_in_flight:
            self._hold(exchange, policy, client_group(client))
        return None

    def _hold(self, exchange: Exchange, policy: Policy, group: str) -> None:
        policy.in_flight[group] += 1
        self.held[exchange] = policy, group

    def finished(self, exchange: Exchange) -> None:
        """A request is over, whether it ever held a place or not."""
        held = self.held.pop(exchange, None)
        if held is not None:
            policy, group = held
            policy.in_flight[group] -= 1
            if not policy.in_flight[group]:
                del policy.in_flight[group]


def _challenge(endpoint: str) -> bytes:
    realm = endpoint.replace("\\", "\\\\").replace('"', '\\"')
    return f'WWW-Authenticate: Basic realm="{realm}", charset="UTF-8"\r\n'.encode()
