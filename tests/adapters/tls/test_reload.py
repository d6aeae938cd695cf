"""TLS profiles of a process whose configuration is read again."""

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pico_core.config.agent import AgentConfig
from pico_core.config.load import load
from pico_core.config.server import ServerConfig
from pico_core.config.tls import jwks_profile
from pico_core.errors import ConfigError
from pico_driver.tls_sections import TlsSections, agent_sections, load_profiles, reload_profiles, server_sections
from tests.certificates import Files


def test_profiles_of_key_sets_come_and_go_with_a_reload(files: Files, ca: str) -> None:
    flags = {"proxy.tls.cert": files.cert, "proxy.tls.key": files.key}
    plain = server_sections(load(ServerConfig, None, flags, ""))
    keys = {"admin.auth.jwks.endpoint": "https://localhost/keys", "admin.auth.jwks.root_cas": ca}
    with_set = server_sections(load(ServerConfig, None, flags | keys, ""))
    profiles = load_profiles(plain)
    assert profiles is not None
    reload_profiles(profiles, with_set)
    found = profiles.get(jwks_profile(ca))
    assert found is not None
    assert found.key == "admin.auth.jwks"
    reload_profiles(profiles, plain)
    profiles.reload()
    assert profiles.get(jwks_profile(ca)) is None


def test_what_speaks_tls_at_all_stays_with_a_reload(files: Files, ca: str, tmp_path: Path) -> None:
    flags = {"proxy.tls.cert": files.cert, "proxy.tls.key": files.key}
    plain, with_tls = (server_sections(load(ServerConfig, None, each, "")) for each in ({}, flags))
    other = server_sections(
        load(ServerConfig, None, {key.replace("proxy", "upstream"): flags[key] for key in flags}, "")
    )
    profiles = load_profiles(with_tls)
    assert profiles is not None
    names = profiles.names
    for sections in (plain, other):
        reload_profiles(profiles, sections)
        assert profiles.names == names
    reload_profiles(None, with_tls)
    bad = {"proxy.tls.cert": str(tmp_path / "none.pem"), "proxy.tls.key": files.key}
    with pytest.raises(ConfigError, match=r"^proxy\.tls\.cert"):
        reload_profiles(None, server_sections(load(ServerConfig, None, bad, "")))
    keys = {"admin.auth.jwks.endpoint": "https://localhost/keys", "admin.auth.jwks.root_cas": ca}
    with pytest.raises(ConfigError, match=r"^admin\.auth\.jwks: nothing spoke TLS when this process began"):
        reload_profiles(None, server_sections(load(ServerConfig, None, keys, "")))


def test_services_come_and_go_with_a_reload(ca: str) -> None:
    def sections(*ports: int) -> TlsSections:
        lines = "".join(
            f"  - {{endpoint_id: e{port}, addr: 'https://localhost:{port}', tls: {{root_cas: {ca}}}}}\n"
            for port in ports
        )
        return agent_sections(load(AgentConfig, f"listeners:\n{lines}", {}, ""))

    profiles = load_profiles(sections(1))
    assert profiles is not None
    reload_profiles(profiles, sections(1, 2))
    (older, newer) = sorted(profiles.names)
    reload_profiles(profiles, sections(2))
    assert profiles.get(newer) is not None
    assert profiles.get(older) is not None, "a request may be on its way to it"
    profiles.reload()
    assert profiles.names == {newer}
    with pytest.raises(ConfigError, match=r"^listeners\[0\]\.tls: nothing spoke TLS when this process began"):
        reload_profiles(None, sections(3))


# --- trust ---


@pytest.mark.parametrize("name", ["proxy.tls.client_cas", "proxy.tls.client.root_cas"])
def test_a_certificate_that_issues_none_is_not_trusted_as_an_issuer(files: Files, tmp_path: Path, name: str) -> None:
    leaf = tmp_path / "leaf.pem"
    end = b"-----END CERTIFICATE-----\n"
    leaf.write_bytes(Path(files.cert).read_bytes().partition(end)[0] + end)
    flags = {"proxy.tls.cert": files.cert, "proxy.tls.key": files.key, name: str(leaf)}
    with pytest.raises(ConfigError) as caught:
        load_profiles(server_sections(load(ServerConfig, None, flags, "")))
    assert str(caught.value).startswith(f"{name}: '{leaf}' has no certificate of an issuer: that of '")
    assert str(caught.value).endswith("O=tests'")


def test_a_certificate_that_is_its_own_issuer_may_be_trusted(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "own.pem"
    path.write_bytes(self_signed())
    flags = {"proxy.tls.cert": files.cert, "proxy.tls.key": files.key, "proxy.tls.client_cas": str(path)}
    assert load_profiles(server_sections(load(ServerConfig, None, flags, "")))


def self_signed() -> bytes:
    """Return a certificate of nobody else, which may not issue others."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
