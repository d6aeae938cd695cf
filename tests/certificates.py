"""Certificates for tests: an authority of their own, and files with what it issues."""

import datetime as dt
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Files:
    """The paths of a certificate with its chain, and of its key."""

    cert: str
    key: str


@cache
def authority(name: str = "tests") -> trustme.CA:
    return trustme.CA(organization_name=name)


def write_authority(folder: Path, name: str = "tests") -> str:
    """Write the certificate of an authority; return its path."""
    path = folder / f"{name}-ca.pem"
    authority(name).cert_pem.write_to_path(str(path))
    return str(path)


def issue(folder: Path, *names: str, issuer: str = "tests", days: int = 7, common_name: str | None = None) -> Files:
    """Issue a certificate for these names; of ``days`` below zero it has expired. Written anew each time."""
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    issued = authority(issuer).issue_cert(
        *names, not_after=expires, not_before=expires - dt.timedelta(days=30), common_name=common_name
    )
    stem = f"{issuer}-{names[0].replace('*', 'any').replace(':', '-')}{'' if days > 0 else '-expired'}"
    files = Files(str(folder / f"{stem}.pem"), str(folder / f"{stem}.key"))
    issued.private_key_pem.write_to_path(files.key)
    Path(files.cert).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return files
