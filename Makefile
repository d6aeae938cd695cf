# Every target is one command; the scripts say more.
.PHONY: demo test lint format fuzz bench gate fair security soak docs

demo:    ; scripts/demo
test:    ; scripts/test
lint:    ; scripts/lint
format:  ; scripts/setup && .venv/bin/ruff check --fix . && .venv/bin/ruff format .
fuzz:    ; scripts/setup && HYPOTHESIS_PROFILE=long .venv/bin/python -m pytest fuzz
bench:   ; scripts/setup && .venv/bin/python benchmarks/end_to_end.py
gate:    ; scripts/setup && .venv/bin/python benchmarks/gate.py
fair:    ; scripts/setup && PYTHONPATH=benchmarks .venv/bin/python -m fair
security: ; scripts/setup && PYTHONPATH=benchmarks .venv/bin/python -m security
soak:    ; scripts/setup && .venv/bin/python -m tests.sim soak
docs:    ; scripts/setup && .venv/bin/python -m pico_tunnel.reference > docs/configuration.md && .venv/bin/python -m pico_tunnel.limits_page > docs/limits.md
