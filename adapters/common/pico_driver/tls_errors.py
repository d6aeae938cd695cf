"""Why TLS failed, in one clause that says what to do."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pico_driver.tls_profiles import Profile

_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_UNKNOWN_ISSUER: Final = (2, 18, 19, 20, 21)
_OTHER_NAME: Final = (62, 64)
"""Codes of OpenSSL's ``X509_V_ERR``."""

_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE")
_WANTS_CERTIFICATE: Final = (
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "TLSV1_ALERT_CERTIFICATE_REQUIRED",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE",
)
_REFUSED_CERTIFICATE: Final = (
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "TLSV1_ALERT_UNKNOWN_CA",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_REVOKED",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
)
MAX_NAMES: Final = 5


class TlsError(Exception):
    """TLS failed; ``str()`` is one readable clause."""


def explain(error: ssl.SSLError, tls: ssl.SSLObject, server_name: str, profile: Profile) -> str:
    """Say why a handshake or a connection failed, with the name expected and the names found where that is it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_problem(error, _certificate(tls), server_name, profile)
    reason = error.reason or ""
    if reason in _NOT_TLS:
        other = "the client" if profile.server_side else "the server"
        hint = "" if profile.server_side else "; is it http:// and not https://?"
        return f"{other} does not speak TLS at this port{hint}"
    if reason in _WANTS_CERTIFICATE:
        if profile.server_side:
            return "the client showed no certificate"
        return f"the server wants a certificate: set {profile.key}.cert and {profile.key}.key"
    if reason in _REFUSED_CERTIFICATE:
        other = "client" if profile.server_side else "server"
        return f"the {other} does not accept our certificate ({_words(reason)})"
    if isinstance(error, ssl.SSLEOFError):
        return "the peer closed the connection during the TLS handshake"
    return f"TLS: {_words(reason) or error}"


def _certificate_problem(
    error: ssl.SSLCertVerificationError, certificate: dict[str, Any], server_name: str, profile: Profile
) -> str:
    whose = "the client's certificate" if profile.server_side else f"the certificate of '{server_name}'"
    if error.verify_code == _EXPIRED:
        return f"{whose} has expired{_date(certificate, 'notAfter', ' on ')}"
    if error.verify_code == _NOT_YET_VALID:
        return f"{whose} is not valid before{_date(certificate, 'notBefore', ' ')}; is the clock right?"
    if error.verify_code in _OTHER_NAME:
        names = [
            f"{value} (as a host name, not an address)" if kind == "DNS" and value == server_name else value
            for kind, value in certificate.get("subjectAltName", ())
            if kind in ("DNS", "IP Address")
        ]
        found = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
        return f"the certificate is for {found or 'no name'}, and not for '{server_name}'"
    if error.verify_code in _UNKNOWN_ISSUER:
        key = f"{profile.key}.client_cas" if profile.server_side else f"{profile.key}.root_cas"
        return f"{whose} is from an issuer that is not trusted; give the issuer's certificate with {key}"
    return f"{whose} is refused: {error.verify_message}"


def _date(certificate: dict[str, Any], field: str, before: str) -> str:
    return f"{before}{certificate[field]}" if field in certificate else ""


def _certificate(tls: ssl.SSLObject) -> dict[str, Any]:
    """Return the certificate that was refused; empty where it cannot be read.

    ``getpeercert`` does not give it: the handshake was not finished. Python 3.13 has a public method for the bytes
    alone, so the object underneath is asked.
    """
    try:
        chain: Any = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined] # noqa: SLF001 - see above
        info = chain[0].get_info() if chain else {}
    except (AttributeError, ssl.SSLError, ValueError):
        return {}
    return dict(info)


def _words(reason: str) -> str:
    return reason.lower().replace("_", " ")
