"""Every secret of a cluster is exchanged, in the order of docs/security.md, while clients ask: no request fails.

Three nodes and two agents, all over TLS, with tokens for both and a gossip key.
"""

import json
import signal
import socket
import ssl
import time
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pico_core.access.issuing import Claims, SigningKey
from tests.certificates import issue, write_authority
from tests.cluster.harness import Address, Cluster, Command, connect, loopback_cluster
from tests.cluster.load import Load, echo_origin
from tests.core.access.keys import private_pem
from tests.e2e.harness import LOCAL
from tests.e2e.origin import Origin, Visit
from tests.e2e.wire import Wire, receive_response, request_bytes
from tests.waiting import wait_until

FILES_S = 40.0
"""Certificates and token files are looked at every 10 s and 5 s."""
REQUESTS = 20_000


class Secrets:
    """The files of the cluster, a key set that a service publishes, and the token that clients use now."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        self.folder = folder
        self.ca = write_authority(folder)
        self.number = 0
        self.published = b""
        self._shared = [b"secret of the key set %d %b" % (number, b"x" * 32) for number in range(2)]
        self._pairs = [SigningKey(private_pem(ec.generate_private_key(ec.SECP256R1()))) for _ in range(2)]
        self._gossip = [b64encode(bytes(range(number, number + 32))).decode() for number in (1, 2)]
        self.sets((0,))
        self.token()
        self.gossip(0)
        self.certificate()

        def publish(visit: Visit) -> None:
            visit.respond(self.published, "Content-Type: application/json\r\nConnection: close\r\n")

        self.url = f"http://{LOCAL}:{origin.port}{origin.handle(publish)}"

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def write(self, name: str, text: str) -> None:
        """Exchange a file as a careful operator does: it is never half written."""
        (self.folder / f"{name}.new").write_text(text)
        (self.folder / f"{name}.new").replace(self.folder / name)

    def sets(self, numbers: tuple[int, ...]) -> None:
        """Write the agents' key set, and publish the clients'."""
        shared = [
            {"kty": "oct", "kid": str(number), "alg": "HS256",
             "k": urlsafe_b64encode(self._shared[number]).rstrip(b"=").decode()}
            for number in numbers
        ]  # fmt: skip
        self.write("keys.json", json.dumps({"keys": shared}))
        from jwt.algorithms import ECAlgorithm

        pairs = [
            {
                **json.loads(ECAlgorithm.to_jwk(self._pairs[number].verifying.material)),
                "kid": str(number),
                "alg": "ES256",
            }
            for number in numbers
        ]
        self.published = json.dumps({"keys": pairs}).encode()

    def token(self) -> None:
        """Make tokens with the newest key, for clients and for agents."""
        now = time.time()
        claims = Claims(("e1",), expires_at=now + 600)
        self.client_token = self._pairs[self.number].sign(claims, now, str(self.number))
        secret = SigningKey(self._shared[self.number].decode())
        self.write("token", secret.sign(claims, now, str(self.number)))

    def gossip(self, *numbers: int) -> None:
        self.write("gossip.keys", "\n".join(self._gossip[number] for number in numbers))

    def certificate(self) -> None:
        files = issue(self.folder, LOCAL)
        self.write("tls.key", Path(files.key).read_text())
        self.write("tls.crt", Path(files.cert).read_text())

    def node_flags(self) -> list[str]:
        flags = ["--proxy.tls.client.root-cas", self.ca, "--cluster.gossip.keys-file", self.path("gossip.keys")]
        for port in ("proxy", "upstream"):
            flags += [f"--{port}.tls.cert", self.path("tls.crt"), f"--{port}.tls.key", self.path("tls.key")]
        flags += ["--upstream.auth.jwks.endpoint", f"file://{self.path('keys.json')}"]
        return [*flags, "--proxy.auth.jwks.endpoint", self.url, "--proxy.auth.jwks.cache-ttl", "1s"]

    def agent_flags(self, upstream: Address) -> list[str]:
        url = f"https://{upstream[0]}:{upstream[1]}"
        return ["--connect.url", url, "--connect.tls.root-cas", self.ca, "--connect.token-file", self.path("token")]

    def reach(self, address: Address) -> socket.socket:
        context = ssl.create_default_context(cafile=self.ca)
        return context.wrap_socket(connect(address), server_hostname=LOCAL, suppress_ragged_eofs=False)


class TokenLoad(Load):
    """Clients with the token of the moment."""

    def __init__(self, secrets: Secrets, path: str, addresses: list[Address]) -> None:
        super().__init__("e1", path, addresses, clients=8, pause_s=0.0, reach=secrets.reach)
        self._secrets = secrets

    def _request(self, wire: Wire, method: str, token: str) -> bool:
        fields = f"Authorization: Bearer {self._secrets.client_token}\r\n"
        if method == "POST":
            wire.send(request_bytes(self._endpoint, self._path, method, fields, token.encode()))
        else:
            wire.send(request_bytes(self._endpoint, f"{self._path}?{token}", method, fields))
        head, body = receive_response(wire, method)
        assert (head.status, body) == (200, token.encode()), f"{method} {token}: {head.status} {body[:200]!r}"
        return head["connection"].lower() != "close"


class Rotation:
    """The steps, each of which ends when all processes have taken it over."""

    def __init__(self, cluster: Cluster, secrets: Secrets, load: Load, origin: Origin, part: int) -> None:
        self._nodes = [node.process for node in cluster.nodes]
        self._agents = cluster.agents
        self._secrets = secrets
        self._load = load
        self._origin = origin
        self._part = part

    def run(self) -> None:
        secrets = self._secrets
        secrets.certificate()
        self._await_each(self._nodes, "certificates and keys loaded again")
        self._load.go_on(self._part)
        secrets.sets((0, 1))
        fetched = self._fetches()
        self._hang_up()
        wait_until(lambda: self._fetches() >= fetched + 2 * len(self._nodes), "the published set is fetched")
        secrets.number = 1
        opened = sum(len(node.logged("tunnel opened")) for node in self._nodes)
        secrets.token()
        wait_until(
            lambda: sum(len(node.logged("tunnel opened")) for node in self._nodes) >= opened + len(self._agents),
            "a tunnel with the new token from each agent", FILES_S,
        )  # fmt: skip
        self._load.go_on(self._part)
        secrets.sets((1,))
        self._hang_up()
        self._load.go_on(self._part)
        for numbers in ((0, 1), (1, 0), (1,)):
            secrets.gossip(*numbers)
            self._hang_up()
            self._load.go_on(self._part)

    def _hang_up(self) -> None:
        """Have every node read its files again."""
        marks = [node.mark() for node in self._nodes]
        for node in self._nodes:
            node.signal(signal.SIGHUP)
        for node, mark in zip(self._nodes, marks, strict=True):
            node.await_log("configuration read again", since=mark)

    def _await_each(self, processes: list[Command], message: str) -> None:
        for process in processes:
            process.await_log(message, timeout_s=FILES_S)

    def _fetches(self) -> int:
        """Return how often nodes have fetched the published set."""
        return sum(head.target in self._secrets.url for head in list(self._origin.requests))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_secret_is_exchanged_under_load(runtime: str, tmp_path: Path) -> None:
    with echo_origin() as (origin, path):
        secrets = Secrets(tmp_path, origin)
        with loopback_cluster(runtime, 3, *secrets.node_flags(), "--drain-delay", "0s") as cluster:
            for node in cluster.nodes[:2]:
                flags = secrets.agent_flags(node.place.upstream)
                cluster.agent(node.place.upstream, "e1", (LOCAL, origin.port), flags=flags)
            cluster.await_upstreams(2)
            with TokenLoad(secrets, path, [node.place.proxy for node in cluster.nodes]) as load:
                Rotation(cluster, secrets, load, origin, REQUESTS // 6).run()
                load.go_on(max(REQUESTS - len(load.outcomes), 0))
            load.report(f"{runtime}, every secret exchanged")
            load.check(REQUESTS)
            for agent in cluster.agents:
                assert agent.alive
                assert "tunnel lost" not in agent.errors()
            cluster.await_upstreams(2)
            assert cluster.is_whole()
