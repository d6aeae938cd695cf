"""No page of the admin port, log line or record shows a secret, in whichever way it was given."""

import base64
import re

from pico_core.boundary import Accepted, ConfigReloaded, Connect, ConnectFailed, Received, Send
from pico_core.config.load import load
from pico_core.config.server import ServerConfig
from pico_core.server.admin.pages import PATHS
from pico_core.server.admin.status import STATUS_PATH
from tests.core.access.keys import NOW_S, signed
from tests.core.access.keys import bearer as bearer_of
from tests.core.proxy.scene import AGENT, client_joins
from tests.core.server.admin.scene import OPERATOR, joins
from tests.core.server.tokens import playing
from tests.play import Play, joined, node_of

SECRET = "canary-0123456789abcdefghijklmnopqrstuvwxyz"
KEYS = tuple(base64.b64encode(b"canary-gossip-%d-0123456789abcdef" % number).decode() for number in range(2))
PASSWORD = "canary-password"
BASIC = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()

FILE = f"""
proxy: {{auth: {{hmac_secret_key: "${{PROXY_SECRET}}"}}, error_detail: full}}
upstream:
  auth: {{hmac_secret_key: "${{PROXY_SECRET}}"}}
  tenants: [{{id: acme, auth: {{hmac_secret_key: "{SECRET}-acme"}}, max_tunnels: 3}}]
admin: {{auth: {{hmac_secret_key: {SECRET}}}}}
cluster: {{gossip: {{keys: ["{KEYS[0]}", "{KEYS[1]}"]}}}}
log: {{level: debug}}
policies:
- {{endpoints: [basic], basic_auth: ["alice:{PASSWORD}"], requests_per_second: 5}}
- endpoints: ["*"]
  request_headers: {{add: ["X-Api-Key: canary-field"]}}
"""

STATUS_PATHS = (
    "/status/upstream/endpoints",
    "/status/upstream/agents",
    "/status/cluster/nodes",
    "/status/cluster/nodes/local",
    "/status/gossip/nodes",
    "/status/gossip/nodes/local",
    "/status/explain/e1",
    "/status/explain/basic",
    "/status/explain-tcp/e1",
    "/status/requests",
    "/status/endpoints",
    "/status/endpoints/e1",
    "/status/overview",
    "/status/limits",
)


def configured(file: str) -> ServerConfig:
    return load(ServerConfig, file, {}, "", environ={"PROXY_SECRET": SECRET})


def token() -> str:
    return signed({"exp": NOW_S + 600}, secret=SECRET)


def test_the_paths_are_all_there_are() -> None:
    """A new status page has a part of the pattern of its own: list it here."""
    parts = set(re.findall(r"[a-z-]+", STATUS_PATH.pattern))
    assert parts <= {part for path in STATUS_PATHS for part in path.split("/")}
    assert all(STATUS_PATH.fullmatch(path) for path in STATUS_PATHS)


def test_no_page_log_or_record_has_a_secret() -> None:
    config = configured(FILE)
    play = playing(config)
    bearer, forged = token(), token()[:-6] + "canary"
    of_tenant = signed({"exp": NOW_S + 600}, secret=f"{SECRET}-acme")
    play.agent_registers(AGENT, "e1", (b"Authorization", bearer_of(of_tenant)), (b"x-pico-tenant-id", b"acme"))
    shown = [f"Authorization: Bearer {each}" for each in (bearer, forged)]
    shown += [f"x-pico-authorization: Bearer {bearer}\r\nAuthorization: Basic {BASIC}", f"Authorization: Basic {BASIC}"]
    play.take()
    for host in ("e1", "basic", "nobody"):
        for index, fields in enumerate(shown):
            number = 101 + 2 * index + 20 * len(host)
            client_joins(play, number)
            target = f"/?token={bearer}&canary=1"
            play >> Received(number, f"GET {target} HTTP/1.1\r\nHost: {host}.example.com\r\n{fields}\r\n\r\n".encode())
            play.take()  # what goes to the service and to the client may have what it sent
    play >> Accepted(91, "upstream", "192.0.2.1", 4000)
    play >> Received(91, f"GET /pico/v1/upstream/e1 HTTP/1.1\r\nHost: h\r\n{shown[1]}\r\n\r\n".encode())
    jwks = 'jwks: {endpoint: "https://issuer.example.com/keys?key=canary-url"}'
    play >> ConfigReloaded(configured(FILE.replace("admin: {auth: {", f"admin: {{auth: {{{jwks}, ")))
    (fetch,) = [each for each in play.take() if isinstance(each, Connect)]
    play >> ConnectFailed(fetch.connection, "connection refused")
    stories = [story.request_id for story in node_of(play).facts.stories.failures()]
    assert stories
    paths = [*PATHS, *STATUS_PATHS, *(f"/status/requests/{story}" for story in stories), "/none"]
    pages = [page(play, path, each) for path in paths for each in shown]
    play.take()
    records = [*play.logs, node_of(play).facts.config, *node_of(play).facts.stories.failures(), config]
    for text in [*pages, *map(repr, records), *(line.decode("latin-1") for line in play.access_log)]:
        for secret in ("canary", SECRET, bearer.split(".")[2], BASIC, *KEYS):
            assert secret not in text, text[:2000]


def page(play: Play, path: str, fields: str) -> str:
    """Ask for a page, on a connection of its own, and return the whole answer."""
    joins(play, OPERATOR)
    play >> Received(
        OPERATOR, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8002\r\nConnection: close\r\n{fields}\r\n\r\n".encode()
    )
    return "".join(joined(each.data).decode() for each in play.take() if isinstance(each, Send))
