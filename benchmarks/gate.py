"""Fails where the machines need more instructions or memory than the figures stored beside this file. Linux, valgrind.

Instructions are counted by callgrind between two marks, with PYTHONHASHSEED=0 and the same inputs: other work of the
machine does not change them. Memory is the peak that ``tracemalloc`` sees, and the blocks of the allocator that are
left after a load. Wall time is printed and never judged.

Figures are stored for each minor version of Python, with the build that they are of: another build of the same version
needs up to a third more or less. Where none are stored for this build, the figures are printed and nothing fails.

Run: python -m benchmarks.gate [--store]
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.command import end_with
from benchmarks.gate_loads import LOADS

FOLDER = Path(__file__).parent
STORED = FOLDER / "gate.json"
TOLERANCE = {"instructions": 0.02, "peak_bytes": 0.03, "left_blocks": 0.03}
SLACK = {"instructions": 0, "peak_bytes": 4096, "left_blocks": 64}
"""How much more is not a regression: by a part of the stored figure, and in all."""

Figures = dict[str, dict[str, float]]


def build() -> str:
    """Return what tells builds of one Python version apart: a hash of the file with the interpreter."""
    path = Path(sys.executable).resolve()
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        path = Path(sysconfig.get_config_var("LIBDIR")) / sysconfig.get_config_var("INSTSONAME")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def environment() -> dict[str, str]:
    """Return one in which nothing varies that the loads could see."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}


def instructions() -> list[int]:
    """Return the instructions of each load. Raises ``SystemExit`` where valgrind does not run."""
    with tempfile.TemporaryDirectory(prefix="pico-gate-") as folder:
        out = Path(folder) / "out"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--dump-before=getloadavg"]
        command += [sys.executable, "-m", "benchmarks.gate_loads", "count"]
        ran = subprocess.run(command, env=environment(), cwd=FOLDER.parent, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise SystemExit(f"valgrind did not run the loads:\n{ran.stderr}")
        # The part before a mark is numbered from 1: warm-up, load, warm-up, load.
        texts = [(out.parent / f"out.{2 * place + 2}").read_text() for place in range(len(LOADS))]
    return [int(re.findall(r"^totals: (\d+)", text, re.MULTILINE)[0]) for text in texts]


def measure() -> Figures:
    """Return all figures by load."""
    command = [sys.executable, "-m", "benchmarks.gate_loads", "measure"]
    ran = subprocess.run(command, env=environment(), cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    figures: Figures = json.loads(ran.stdout)
    for name, count in zip(LOADS, instructions(), strict=True):
        figures[name]["instructions"] = count
    return figures


def worse(kind: str, now: float, stored: float) -> bool:
    return now > stored + max(abs(stored) * TOLERANCE[kind], SLACK[kind])


def judge(figures: Figures, stored: Figures) -> int:
    """Print figures beside those stored; return how many are worse."""
    found = 0
    for name, kinds in figures.items():
        for kind in TOLERANCE:
            now, before = kinds[kind], stored.get(name, {}).get(kind)
            verdict = "not stored" if before is None else "WORSE" if worse(kind, now, before) else "fine"
            change = f"{now / before - 1:+7.2%}" if before else f"{'':7}"
            print(f"{name:38}{kind:14}{now:13,.0f} {change} {verdict}")
            found += verdict == "WORSE"
        print(f"{name:38}{'wall':14}{kinds['wall_s'] * 1000:10.0f} ms, not judged")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="store the figures for this version of Python")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed: apt-get install valgrind")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    all_stored: dict[str, Any] = json.loads(STORED.read_text()) if STORED.exists() else {}
    stored = all_stored.get(version)
    figures = measure()
    if options.store:
        judged = {name: {kind: kinds[kind] for kind in TOLERANCE} for name, kinds in figures.items()}
        all_stored[version] = {"build": build(), "figures": judged}
        STORED.write_text(json.dumps(all_stored, indent=1, sort_keys=True) + "\n")
        print(f"stored for Python {version}")
        return 0
    if stored is None or stored["build"] != build():
        what = f"Python {version}" if stored is None else f"this build of Python {version}"
        judge(figures, {})
        print(f"nothing is judged: no figures are stored for {what}; --store does that")
        return 0
    found = judge(figures, stored["figures"])
    if found:
        print(f"{found} figures are worse than stored. If that is what the change costs, say why and run --store.")
    return int(found > 0)


if __name__ == "__main__":
    end_with(main)
