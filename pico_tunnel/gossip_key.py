"""``pico server key``: makes a key for ``cluster.gossip.keys``."""

from __future__ import annotations

import click

from pico_core.bounds import GOSSIP_KEY_BYTES
from pico_tunnel.flags import TeachingCommand

EXAMPLES = """\
A key for a cluster, given to each of its nodes:
  pico server key > gossip.key
  pico server --cluster.gossip.keys-file gossip.key --cluster.join pico
To change it while the cluster runs, add the new key below the old one on every node;
then put it first on every node; then remove the old one:
  pico server key >> gossip.key"""


@click.command("key", cls=TeachingCommand, short_help="Make a key for the gossip of a cluster.", examples=EXAMPLES)
def key() -> int:
    """Print a new key for cluster.gossip.keys: 32 bytes of the system's randomness, in base64.

    Nodes with a key of the cluster encrypt and authenticate what they tell each other, and take nothing from others.
    """
    import base64
    import secrets

    click.echo(base64.b64encode(secrets.token_bytes(GOSSIP_KEY_BYTES)).decode())
    return 0
