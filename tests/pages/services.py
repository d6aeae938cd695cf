"""The services of the guides, each beside the agent of its page and at its usual port."""

import getpass
import shutil
from pathlib import Path

from tests.cluster.network import run
from tests.pages.blocks import Command
from tests.pages.machines import Machines


def start_sshd(made: Machines, folder: Path) -> None:
    """Have sshd beside the service, at its port, for this user with the key of the client."""
    sshd = shutil.which("sshd")
    assert sshd is not None, "the package openssh-server"
    for name in ("ssh-host", "ssh-user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    shutil.copy(folder / "ssh-user.pub", folder / "authorized")
    Path("/run/sshd").mkdir(exist_ok=True)
    options = f"-oAuthorizedKeysFile={folder}/authorized -oHostKey={folder}/ssh-host -oPidFile=none -oStrictModes=no"
    command = f"{sshd} -D -e -f /dev/null {options} -oUsePAM=no -oAllowUsers={getpass.getuser()}"
    made.start(Command(command, "beside the service"), "listening")


def start_redis(made: Machines, _folder: Path) -> None:
    """Have Redis beside the service, at its port."""
    made.start(Command("redis-server --save '' --bind 127.0.0.1", "beside the service"), "Ready to accept")


def start_postgres(made: Machines, _folder: Path) -> None:
    """Have PostgreSQL beside the service, at its port. It refuses to run as root."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    data = made.folder_of("postgres")
    beginning = "setpriv --reuid postgres --regid postgres --clear-groups"
    title = "beside the service"
    code, printed = made.run(Command(f"{beginning} {programs}/initdb -D {data} -A trust -U alice", title))
    assert code == 0, printed
    command = f"{beginning} {programs}/postgres -D {data} -k '' -h 127.0.0.1 -c fsync=off"
    made.start(Command(command, title), "ready to accept connections")
