# Every target is one command; the scripts say more.
.PHONY: demo test lint format fuzz bench gate fair security soak docs reference

demo:    ; scripts/demo
test:    ; scripts/test
lint:    ; scripts/lint
format:  ; scripts/setup && .venv/bin/ruff check --fix . && .venv/bin/ruff format .
fuzz:    ; scripts/setup && HYPOTHESIS_PROFILE=long .venv/bin/python -m pytest fuzz
bench:   ; scripts/setup && .venv/bin/python -m benchmarks
gate:    ; scripts/setup && .venv/bin/python -m benchmarks.gate
fair:    ; scripts/setup && .venv/bin/python -m benchmarks.fair
security: ; scripts/setup && .venv/bin/python -m benchmarks.security
soak:    ; scripts/setup && .venv/bin/python -m tests.sim soak
reference: ; scripts/setup && .venv/bin/python -m pico_tunnel.reference > docs/configuration.md && .venv/bin/python -m pico_tunnel.limits_page > docs/limits.md
docs:    ; scripts/docs
