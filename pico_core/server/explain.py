"""Which policy a request would meet, and what it would be answered, without a server: ``pico server check``."""

from collections.abc import Iterator, Sequence

import msgspec

from pico_core.access.grant import Denied
from pico_core.config.policies import PolicyConfig
from pico_core.config.server import ServerConfig
from pico_core.errors import ConfigError
from pico_core.http.message import HeadLimits, MessageError, RequestHead
from pico_core.http.parsing import parse_request_head
from pico_core.proxy.endpoint import endpoint_of
from pico_core.server.policies import BODY_DENIED, CREDENTIALS_REASON, NETWORK_DENIED, Policies, Policy
from pico_core.server.tcp_route import OWN_PATHS, tcp_endpoint
from pico_core.server.tenants import qualified, tenant_of
from pico_core.server.web_pages import check_origin

WANTED = "a method and a URL such as 'GET http://my-endpoint.example.com/x'"

PASSES = "passes"


class Explanation(msgspec.Struct, frozen=True):
    """The decisions about a request, as names and texts in their order; and whether it passes."""

    lines: tuple[tuple[str, str], ...]
    passes: bool


def explain(config: ServerConfig, request: str, client: str, fields: Sequence[str] = ()) -> Explanation:
    """Return what would become of ``request``, a method and a URL, that ``client`` sends with the header ``fields``.

    It is the first of its client: no rate is exceeded yet. Raises ``ConfigError`` for what is not a request at all.
    """
    lines = [("request", f"{request} from {client}")]
    try:
        lines += _decisions(config, request, client, fields)
    except (MessageError, Denied) as error:
        lines.append(("answer", f"{error.status} {error.reason}"))
    return Explanation(tuple(lines), lines[-1] == ("answer", PASSES))


def _decisions(config: ServerConfig, request: str, client: str, fields: Sequence[str]) -> Iterator[tuple[str, str]]:
    head = _head(request, fields)
    raw = head.target.startswith(OWN_PATHS)
    endpoint = tcp_endpoint(head) if raw else endpoint_of(head)
    yield "endpoint", f"{endpoint}, for a TCP connection" if raw else endpoint
    tenants = {each.id for each in config.upstream.tenants}
    if config.proxy.auth.is_on:
        yield "token", "proxy.auth asks for one; it is not looked at here"
    if tenants:
        tenant = tenant_of(head, tenants)
        yield "tenant", tenant
        endpoint = qualified(tenant, endpoint)
    if raw:
        check_origin(head.fields, config.proxy.allowed_origins, "proxy.allowed_origins")
    policy = Policies(config.policies).of(endpoint)
    if policy is None:
        yield "policy", "none"
        yield "answer", PASSES
        return
    yield "policy", policy.named(endpoint)
    yield from _parts(policy, head, client)


def _head(request: str, fields: Sequence[str]) -> RequestHead:
    method, space, url = request.partition(" ")
    scheme, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if not space or not mark or scheme.lower() not in ("http", "https") or not authority:
        raise ConfigError(f"wants {WANTED}")
    given = "".join(f"{field}\r\n" for field in fields)
    text = f"{method} {slash or '/'}{path} HTTP/1.1\r\nHost: {authority}\r\n{given}\r\n"
    return parse_request_head(text.encode(errors="surrogatepass"), HeadLimits())


def _parts(policy: Policy, head: RequestHead, client: str) -> Iterator[tuple[str, str]]:
    config = policy.config
    answer = ""
    if config.allowed_networks or config.denied_networks:
        is_in = policy.lets_in(client)
        yield "network", f"{client} is {'let in' if is_in else 'not let in'}: {_networks(config)}"
        answer = "" if is_in else f"{NETWORK_DENIED.status} {NETWORK_DENIED.reason}"
    if config.requests_per_second:
        yield "rate", f"{config.requests_per_second:g} a second, {policy.burst} at once, else 429"
    if config.basic_auth:
        is_known = policy.knows(head)
        users = ", ".join(each.name for each in config.basic_auth)
        yield "credentials", f"{'right' if is_known else 'missing or wrong'}; the users are {users}"
        answer = answer or ("" if is_known else f"401 {CREDENTIALS_REASON}")
    if config.max_in_flight:
        yield "in flight", f"{config.max_in_flight} of one client, else 429"
    if config.max_body_bytes:
        yield "body", f"at most {config.max_body_bytes} bytes"
        if head.content_length > config.max_body_bytes:
            answer = answer or f"{BODY_DENIED.status} {BODY_DENIED.reason}"
    for name, edit in (("request headers", config.request_headers), ("response headers", config.response_headers)):
        if edit.add or edit.remove:
            yield name, "; ".join([*(f"add {each}" for each in edit.add), *(f"remove {each}" for each in edit.remove)])
    yield "answer", answer or PASSES


def _networks(config: PolicyConfig) -> str:
    allowed = ", ".join(map(str, config.allowed_networks)) or "all"
    denied = ", ".join(map(str, config.denied_networks)) or "none"
    return f"allowed {allowed}; denied {denied}"
