"""TLS with clients that others wrote: openssl, curl, Go and Java; what agents and forwarders say of certificates."""

import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.certificates import Files, issue, write_authority
from tests.e2e.harness import LOCAL, Fleet, Process, Server
from tests.e2e.origin import Origin
from tests.e2e.wire import Wire, request_bytes
from tests.waiting import PATIENCE_S, wait_until

OLD_AND_WEAK = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"

GO = """package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	ca, _ := os.ReadFile(os.Args[1])
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := &tls.Config{RootCAs: pool, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
		for round := 0; round < 2; round++ {
			client := http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
			request, _ := http.NewRequest("GET", os.Args[2], nil)
			request.Header.Set("x-pico-endpoint", "web")
			answer, err := client.Do(request)
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			body, err := io.ReadAll(answer.Body)
			fmt.Println(answer.StatusCode, len(body) > 0, err, answer.TLS.Version == version, answer.TLS.DidResume,
				answer.TLS.NegotiatedProtocol)
			client.CloseIdleConnections()
		}
	}
	old := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	_, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: old}}).Get(os.Args[2])
	fmt.Println("old:", err != nil)
}
"""

JAVA = """
import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.TrustManagerFactory;

public class Client {
    public static void main(String[] arguments) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream file = new FileInputStream(arguments[0])) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        for (String version : new String[] {"TLSv1.2", "TLSv1.3"}) {
            SSLParameters parameters = new SSLParameters();
            parameters.setProtocols(new String[] {version});
            for (HttpClient.Version http : HttpClient.Version.values()) {
                HttpClient client = HttpClient.newBuilder().sslContext(context).sslParameters(parameters)
                    .version(http).build();
                HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[1]))
                    .header("x-pico-endpoint", "web").build();
                for (int round = 0; round < 2; round++) {
                    var answer = client.send(request, BodyHandlers.ofString());
                    System.out.println(answer.statusCode() + " " + answer.version() + " "
                        + answer.sslSession().get().getProtocol().equals(version));
                }
            }
        }
        System.exit(0);
    }
}
"""


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"left out: {name} is not installed, so its TLS client was not tried")
    return found


def run(*command: str, text: bytes = b"", timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=text, capture_output=True, check=False, timeout=timeout_s)


@dataclass
class Port:
    """A proxy port that speaks TLS, and files for its clients."""

    number: int
    ca: str
    folder: Path
    client: Files
    stranger: Files

    @property
    def url(self) -> str:
        return f"https://localhost:{self.number}/describe"

    def curl(self, *flags: str) -> subprocess.CompletedProcess[bytes]:
        usual = ("-sS", "--cacert", self.ca, "-H", "x-pico-endpoint: web", "-w", "%{http_code}", "-o", "/dev/null")
        return run(tool("curl"), *usual, *flags, self.url)

    def s_client(self, *flags: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        place = ("-connect", f"localhost:{self.number}", "-servername", "localhost", "-CAfile", self.ca)
        return run(tool("openssl"), "s_client", *place, *flags, text=text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients")


def opened(fleet: Fleet, folder: Path, origin: Origin, *flags: str) -> Iterator[Port]:
    ca, files = write_authority(folder), issue(folder, "localhost", LOCAL)
    server = fleet.server("--proxy.tls.cert", files.cert, "--proxy.tls.key", files.key, *flags)
    agent = fleet.agent(server, "web", origin.port)
    client, stranger = issue(folder, "client.example"), issue(folder, "stranger.example", issuer="strangers")
    yield Port(server.proxy_port, ca, folder, client, stranger)
    agent.stop()
    server.process.stop()


@pytest.fixture(scope="module")
def port(shared_fleet: Fleet, shared_origin: Origin, folder: Path) -> Iterator[Port]:
    yield from opened(shared_fleet, folder, shared_origin)


@pytest.fixture(scope="module", params=["optional", "required"])
def asking(request: pytest.FixtureRequest, shared_fleet: Fleet, shared_origin: Origin, folder: Path) -> Iterator[Port]:
    """A port that asks clients for certificates."""
    flags = ("--proxy.tls.client-cas", write_authority(folder), "--proxy.tls.client-cert", request.param)
    yield from opened(shared_fleet, folder, shared_origin, *flags)


@pytest.mark.debian
@pytest.mark.parametrize("version", ["1", "1_1", "1_2", "1_3"])
def test_openssl_gets_tls_1_2_and_newer(port: Port, version: str) -> None:
    shown = port.s_client(f"-tls{version}", "-cipher", "DEFAULT@SECLEVEL=0", "-alpn", "h2,http/1.1")
    works = version in ("1_2", "1_3")
    assert (b"Verify return code: 0 (ok)" in shown.stdout and b"ALPN protocol: http/1.1" in shown.stdout) is works
    assert (b"alert protocol version" in shown.stderr) is not works


@pytest.mark.debian
@pytest.mark.parametrize("group", ["NULL", "aNULL", "3DES", "RC4", "MD5", "EXPORT", "IDEA", "SEED", "PSK", "SRP"])
def test_openssl_gets_no_weak_cipher(port: Port, group: str) -> None:
    known = run(tool("openssl"), "ciphers", f"{group}:@SECLEVEL=0")
    if not known.stdout.strip() or known.returncode:
        pytest.skip(f"left out: this openssl does not know {group} itself")
    shown = port.s_client("-tls1_2", "-cipher", f"{group}:@SECLEVEL=0")
    assert b"Cipher is (NONE)" in shown.stdout, shown.stdout[-2000:]


@pytest.mark.debian
def test_every_cipher_of_tls_1_2_has_forward_secrecy_and_authenticates(port: Port) -> None:
    listed = run(tool("openssl"), "ciphers", OLD_AND_WEAK).stdout.decode().strip().split(":")
    taken = []
    for cipher in listed:
        if not cipher.startswith("TLS_"):
            shown = port.s_client("-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
            if b"Cipher is (NONE)" not in shown.stdout and cipher.encode() in shown.stdout:
                taken.append(cipher)
    assert "ECDHE-ECDSA-AES256-GCM-SHA384" in taken
    assert all(cipher.startswith(("ECDHE-", "DHE-")) for cipher in taken)
    assert all(any(mode in cipher for mode in ("GCM", "CHACHA20", "CCM", "SHA")) for cipher in taken)


@pytest.mark.debian
def test_renegotiation_and_compression_are_refused(port: Port) -> None:
    shown = port.s_client("-tls1_2", "-comp", text=b"R\n")
    assert b"RENEGOTIATING" in shown.stdout + shown.stderr
    assert b"no renegotiation" in shown.stderr
    assert b"Compression: NONE" in shown.stdout


@pytest.mark.debian
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_resumes_its_session(port: Port, version: str) -> None:
    """The ticket of TLS 1.3 comes with the first answer."""
    file = str(port.folder / f"session{version}")
    asks = b"GET /describe HTTP/1.1\r\nHost: a\r\nx-pico-endpoint: web\r\nConnection: close\r\n\r\n"
    first = port.s_client(version, "-sess_out", file, "-ign_eof", text=asks)
    assert b"HTTP/1.1 200" in first.stdout
    again = port.s_client(version, "-sess_in", file, "-ign_eof", text=asks)
    assert b"\nReused, TLSv1" in again.stdout
    assert b"HTTP/1.1 200" in again.stdout


@pytest.mark.debian
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_with_and_without_a_certificate(asking: Port, request: pytest.FixtureRequest, version: str) -> None:
    required = "required" in request.node.callspec.id
    only = ("--tls-max", version, f"--tlsv{version}")
    known = asking.curl(*only, "--cert", asking.client.cert, "--key", asking.client.key)
    assert (known.returncode, known.stdout) == (0, b"200"), known.stderr
    none = asking.curl(*only)
    assert (none.stdout == b"200") is not required
    unknown = asking.curl(*only, "--cert", asking.stranger.cert, "--key", asking.stranger.key)
    assert unknown.returncode != 0
    assert unknown.stdout == b"000"


@pytest.mark.debian
def test_curl_refuses_what_is_not_the_ports(port: Port) -> None:
    other = run(tool("curl"), "-sS", "--cacert", write_authority(port.folder, "strangers"), port.url)
    assert other.returncode == 60
    plain = run(tool("curl"), "-sS", port.url.replace("https", "http"))
    assert b"this port speaks TLS" in plain.stdout


@pytest.mark.debian
@pytest.mark.slow
def test_go(port: Port) -> None:
    source = port.folder / "client.go"
    source.write_text(GO)
    done = run(tool("go"), "run", str(source), port.ca, port.url, timeout_s=240)
    lines = done.stdout.decode().splitlines()
    rounds = [f"200 true <nil> true {resumed} http/1.1" for resumed in ("false", "true")] * 2
    assert lines == [*rounds, "old: true"], (lines, done.stderr)


@pytest.mark.debian
@pytest.mark.slow
def test_java(port: Port) -> None:
    source = port.folder / "Client.java"
    source.write_text(JAVA)
    done = run(tool("java"), str(source), port.ca, port.url, timeout_s=120)
    assert done.stdout.decode().splitlines() == ["200 HTTP_1_1 true"] * 8, done.stderr


def test_nodes_show_their_certificates_to_each_other(fleet: Fleet, origin: Origin, tmp_path: Path) -> None:
    """A port that wants a certificate of every client gets it from other nodes too."""
    ca, files = write_authority(tmp_path), issue(tmp_path, LOCAL)
    flags = ["--proxy.tls.client-cas", ca, "--proxy.tls.client.root-cas", ca]
    for section in ("proxy.tls", "proxy.tls.client"):
        flags += [f"--{section}.cert", files.cert, f"--{section}.key", files.key]
    home = fleet.server(*flags)
    entry = fleet.server(*flags, "--cluster.join", f"{LOCAL}:{home.process.port('gossip')}")
    fleet.agent(home, "web", origin.port)
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(files.cert, files.key)

    def served() -> bool:
        plain = socket.create_connection((LOCAL, entry.proxy_port), PATIENCE_S)
        with Wire(context.wrap_socket(plain, server_hostname=LOCAL)) as wire:
            wire.send(request_bytes("web", "/describe"))
            return wire.receive_head().status == 200

    wait_until(served, "the first node forwards to the second")


# --- what agents and forwarders say ---


def says(process: Process, *words: str) -> bool:
    return all(word in process.errors() for word in words)


@pytest.mark.parametrize("kind", ["agent", "forward"])
@pytest.mark.parametrize("wrong", ["issuer", "expired", "name"])
def test_a_wrong_certificate_is_told_with_its_names(fleet: Fleet, tmp_path: Path, kind: str, wrong: str) -> None:
    ca = write_authority(tmp_path)
    files = {
        "issuer": lambda: issue(tmp_path, "localhost", issuer="strangers"),
        "expired": lambda: issue(tmp_path, "localhost", days=-3),
        "name": lambda: issue(tmp_path, "first.example", "second.example"),
    }[wrong]()
    server: Server = fleet.server(
        *(f"--{port}.tls.{part}={value}" for port in ("proxy", "upstream")
          for part, value in (("cert", files.cert), ("key", files.key)))
    )  # fmt: skip
    trust = ("--connect.tls.root-cas", ca)
    if kind == "agent":
        url = f"https://localhost:{server.upstream_port}"
        process = fleet.start("agent", "http", "web", "1", "--connect.url", url, *trust)
    else:
        url = f"https://localhost:{server.proxy_port}"
        process = fleet.start("forward", "tcp", f"{LOCAL}:0", "db", "--connect.url", url, *trust)
        socket.create_connection((LOCAL, process.port("forward")), PATIENCE_S).close()
    said = {
        "issuer": ("issuer that is not trusted",),
        "expired": ("has expired on",),
        "name": ("first.example", "second.example", "'localhost'"),
    }[wrong]
    wait_until(partial(says, process, *said), f"{said} in the log")
    process.stop()


@pytest.mark.parametrize("kind", ["agent", "forward", "status"])
@pytest.mark.parametrize("shown", ["none", "of a stranger", "expired"])
def test_a_server_that_wants_a_certificate_is_told_of(fleet: Fleet, tmp_path: Path, kind: str, shown: str) -> None:
    ca, files = write_authority(tmp_path), issue(tmp_path, "localhost")
    server: Server = fleet.server(
        *(f"--{port}.tls.{part}={value}" for port in ("proxy", "upstream", "admin")
          for part, value in (("cert", files.cert), ("key", files.key), ("client-cas", ca)))
    )  # fmt: skip
    own = issue(tmp_path, "a", issuer="strangers") if shown == "of a stranger" else issue(tmp_path, "a", days=-3)
    prefix, port = {
        "agent": ("connect.tls", server.upstream_port),
        "forward": ("connect.tls", server.proxy_port),
        "status": ("server.tls", server.admin_port),
    }[kind]
    flags = [f"--{prefix}.root-cas", ca]
    if shown != "none":
        flags += [f"--{prefix}.cert", own.cert, f"--{prefix}.key", own.key]
    url = f"https://localhost:{port}"
    command = {
        "agent": ("agent", "http", "web", "1", "--connect.url", url),
        "forward": ("forward", "tcp", f"{LOCAL}:0", "db", "--connect.url", url),
        "status": ("server", "status", "cluster", "nodes", "--server.url", url),
    }[kind]
    said = {
        "none": f"the server wants a certificate: set {prefix}.cert and {prefix}.key",
        "of a stranger": "the server does not accept our certificate (tlsv1 alert unknown ca)",
        "expired": "the server does not accept our certificate (sslv3 alert certificate expired)",
    }[shown]
    if kind == "status":
        assert said.encode() in run(sys.executable, "-m", "pico_tunnel", *command, *flags).stderr
        return
    process = fleet.start(*command, *flags)
    if kind == "forward":
        socket.create_connection((LOCAL, process.port("forward")), PATIENCE_S).close()
    wait_until(partial(says, process, said), f"{said} in the log")


def test_a_node_whose_certificate_another_one_wants_says_so(fleet: Fleet, origin: Origin, tmp_path: Path) -> None:
    ca, files = write_authority(tmp_path), issue(tmp_path, LOCAL)
    flags = [f"--proxy.tls.cert={files.cert}", f"--proxy.tls.key={files.key}", f"--proxy.tls.client.root-cas={ca}"]
    home = fleet.server(*flags, f"--proxy.tls.client-cas={ca}")
    entry = fleet.server(*flags, "--cluster.join", f"{LOCAL}:{home.process.port('gossip')}")
    fleet.agent(home, "web", origin.port)
    context = ssl.create_default_context(cafile=ca)
    said = "the server wants a certificate: set proxy.tls.client.cert and proxy.tls.client.key"

    def told() -> bool:
        plain = socket.create_connection((LOCAL, entry.proxy_port), PATIENCE_S)
        with Wire(context.wrap_socket(plain, server_hostname=LOCAL)) as wire:
            wire.send(request_bytes("web", "/describe"))
            assert wire.receive_head().status == 502
        return says(entry.process, "cannot forward to a node", said)

    wait_until(told, "the reason in the log")
