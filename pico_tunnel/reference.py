"""The reference page of all keys, made from their declarations by ``python -m pico_tunnel.reference``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from pico_core.config.agent import AgentConfig, ListenerConfig
from pico_core.config.declare import Leaf, Section, flag_name, leaves
from pico_core.config.forward import ForwardConfig, PortConfig
from pico_core.config.policies import PolicyConfig
from pico_core.config.ports import TenantConfig
from pico_core.config.server import ServerConfig

_HEAD = """\
# Configuration

<!-- Generated from pico_core/config by `python -m pico_tunnel.reference`; change the declarations, not this page. -->

Every long-running command reads a YAML file given with `--config.path`, and takes every key outside a list as a flag:
dots are kept and `_` becomes `-`, so `proxy.bind_addr` is `--proxy.bind-addr`. A flag wins over the file, the file over
the default.

| in a file | as a flag |
|---|---|
| a duration: `100ms`, `30s`, `1m30s`, `1h` (a number alone is refused) | the same |
| an address to listen on: `:8000`, `127.0.0.1:8000`, `"[::1]:8000"` | the same, without quotes |
| a switch: `true` or `false` | `--key` or `--key=true`, `--key=false` |
| a list: `[a, b]` or one item a line | `--key a,b` or `--key a --key b` |

A key with `_file` behind its name is the same value in a file of its own, such as a secret or a key in PEM.

Unknown keys, keys given twice and wrong values are errors; they name the key, the line, and what is wanted. YAML tags
are refused. A key at the top whose name begins with `x-` is read by nothing: it holds a block with an anchor, for `<<`
to merge. `warn` is read as the level `warning`.

With `--config.expand-env` the file may refer to environment variables, by the rules of Go's `os.Expand`: `$NAME`,
`${NAME}`, and `${NAME:default}` for a variable that is undefined or empty. An undefined variable without a default is
empty. Where that would leave a key empty that protects (below `auth`, `tls`, `policies` or `tenants`, tokens, the
gossip key), or take an item out of such a list, the file is refused; `${NAME:}` says that nothing is meant. `$$` is
empty too; a dollar sign before a letter is written as a default, `${NONE:$}`. The value of a variable is one piece of a
key or value, whatever it holds; a default is text of the file, and may be a list.

A key that protects is refused where the file, or a flag, gives it no value: what was meant to close a port would
leave it open. `policies`, `tenants` and `keys` may be `[]`, which says that there are none; the rules of a policy may
not, since an empty `allowed_networks` would mean everybody. Keys that Piko has too may be empty in a file
(`hmac_secret_key: ""`, with the quotes), except in a tenant: files of Piko write out the defaults. What is open then is
told when the server starts. A section that protects (`auth:`, `tls:`, `gossip:`) has keys below it, or `{}`, which says
that there are none. Secrets are best written in quotes: YAML takes a value that begins with `#` or `&` for nothing.
"""


def text() -> str:
    """Return the whole page."""
    return "\n".join(
        [
            _HEAD,
            *_command("pico server", ServerConfig),
            *_items(
                "policies",
                "Each item of the list `policies` of `pico server`; [policies.md](policies.md) has examples.",
                PolicyConfig,
            ),
            *_items(
                "upstream.tenants",
                "Each item of the list `tenants` below `upstream`; [tokens.md](tokens.md) says what a tenant is.",
                TenantConfig,
            ),
            *_command("pico agent", AgentConfig),
            *_items(
                "listeners",
                "Each item of the list `listeners` of `pico agent start`. For the one listener of `pico agent http` "
                "and `pico agent tcp`, the first three come from the arguments, the others are flags (`--timeout`).",
                ListenerConfig,
            ),
            *_command("pico forward", ForwardConfig),
            *_items(
                "ports",
                "Each item of the list `ports` of `pico forward start`; `pico forward tcp` makes one of its arguments.",
                PortConfig,
            ),
        ]
    )


def _command(title: str, root: type[Section]) -> Iterator[str]:
    yield f"## `{title}`\n"
    yield "| key | flag | default | meaning | why this default |\n|---|---|---|---|---|"
    for leaf in leaves(root):
        yield f"| `{leaf.name}` | `{flag_name(leaf.name)}` | {_default(leaf)} | {leaf.key.help} | {leaf.key.why} |"
    yield ""


def _items(name: str, summary: str, root: type[Section]) -> Iterator[str]:
    yield f"### `{name}`\n\n{summary}\n"
    yield "| key | default | meaning | why this default |\n|---|---|---|---|"
    for leaf in leaves(root):
        yield f"| `{leaf.name}` | {_default(leaf)} | {leaf.key.help} | {leaf.key.why} |"
    yield ""


def _default(leaf: Leaf) -> str:
    if leaf.required:
        return "required"
    return f"`{leaf.shown_default}`" if leaf.shown_default else "empty"


if __name__ == "__main__":
    sys.stdout.write(text())
