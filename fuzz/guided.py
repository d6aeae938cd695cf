"""Coverage-guided fuzzing of the targets that Hypothesis runs too, with atheris: ``pip install -e '.[fuzz]'``.

    python -m fuzz.guided request                         until it is interrupted, or finds something
    python -m fuzz.guided request --seconds 60
    python -m fuzz.guided all --seconds 600               each of them so long
    python -m fuzz.guided request --corpus FOLDER         inputs that reach something new are kept there

What it finds is written to a file ``crash-*`` of the working folder; put it below ``fuzz/corpus`` when it is mended.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HANG_S = 1
"""An input that takes longer is a failure."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=0, help="for each target; default: no end")
    parser.add_argument("--corpus", type=Path, help="a folder for what it learns; default: forgotten")
    options = parser.parse_args()
    if options.target == "all":
        _all(options.seconds)
    else:
        _one(options.target, options.seconds, options.corpus, parser)


def _all(seconds: int) -> None:
    from fuzz.targets import TARGETS

    for name in TARGETS:  # libFuzzer ends its process with the run
        sys.stdout.write(f"--- {name}\n")
        sys.stdout.flush()
        subprocess.run([sys.executable, "-m", "fuzz.guided", name, "--seconds", str(seconds or 60)], check=True)


def _one(name: str, seconds: int, corpus: Path | None, parser: argparse.ArgumentParser) -> None:
    try:
        import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        parser.error("atheris is missing: pip install -e '.[fuzz]', which needs CPython 3.11 to 3.13 on Linux")
    with atheris.instrument_imports(include=["pico_core", "pico_driver"]):
        from fuzz.targets import CORPUS, MAX_BYTES, TARGETS
    if name not in TARGETS:
        parser.error(f"no target '{name}'; there are {', '.join(TARGETS)} and all")
    learnt = str(corpus or tempfile.mkdtemp(prefix="pico-fuzz-"))
    limits = [f"-max_total_time={seconds}", f"-timeout={HANG_S}", f"-max_len={MAX_BYTES}"]
    atheris.Setup([sys.argv[0], *limits, learnt, str(CORPUS / name)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
