"""Renders the chart with four sets of values into ``golden/``: ``python -m tests.deploy.render``, with helm installed.

A digest of the chart is kept beside, so that without helm it is seen that the chart has changed since.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "pico"
GOLDEN = Path(__file__).parent / "golden"
DIGEST = GOLDEN / "chart.sha256"
SETS = {"default": None} | {name: CHART / "examples" / f"{name}.yaml" for name in ("hardened", "agents", "workers")}
KUBERNETES = "1.31.0"
"""A helm that was built from its source takes Kubernetes for 1.20 unless it is told."""


def helm(*settings: str, values: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Render the chart; its errors are in ``stderr``."""
    files = ["-f", str(values)] if values else []
    command = ["helm", "template", "pico", str(CHART), "--namespace", "pico", "--kube-version", KUBERNETES]
    return subprocess.run([*command, *files, *settings], capture_output=True, text=True, check=False, timeout=60)


def digest() -> str:
    """Return the digest of all that a render reads."""
    found = hashlib.sha256()
    files = [path for path in CHART.rglob("*") if path.is_file()] + [*(CHART / "files" / "dashboards").glob("*.json")]
    for path in sorted(set(files)):
        found.update(path.relative_to(CHART).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def main() -> int:
    """Write the manifests and the digest."""
    for name, values in SETS.items():
        done = helm(values=values)
        if done.returncode:
            sys.stderr.write(done.stderr)
            return 1
        (GOLDEN / f"{name}.yaml").write_text(done.stdout)
    DIGEST.write_text(digest() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
