"""The issuer of a simulated deployment: short-lived tokens, written into files again before they expire."""

from msgspec.structs import replace

from pico_core.access.issuing import Claims, SigningKey
from pico_core.access.secret import Secret
from pico_core.config.auth import AuthConfig
from pico_core.config.secrets import SecretFile
from pico_core.config.server import ServerConfig
from tests.sim.network import Host
from tests.sim.process import EPOCH_S
from tests.sim.world import World

TOKEN_FILE = "/run/pico/token"
SECRET = "the secret of a whole simulated cluster"


class Issuer:
    """Makes tokens that last for ``life_s``, and renews those in files after half of that while ``renewing``."""

    def __init__(self, world: World, life_s: float, secret: str = SECRET) -> None:
        self.renewing = True
        self.late_until = 0.0
        """When the last token that was renewed late has expired: until then tunnels may end with it."""
        self._world = world
        self.life_s = life_s
        self._key = SigningKey(secret)
        self._hosts: list[tuple[Host, tuple[str, ...]]] = []
        if life_s > 0.0:
            world.after(life_s / 2, self._renew_again)

    def guard(self, config: ServerConfig) -> ServerConfig:
        """Return the configuration of a server whose proxy and upstream ports ask for these tokens."""
        auth = AuthConfig(hmac_secret_key=Secret(SECRET), leeway_s=0.0)
        return replace(config, proxy=replace(config.proxy, auth=auth), upstream=replace(config.upstream, auth=auth))

    def token(self, endpoints: tuple[str, ...] = ()) -> str:
        now = EPOCH_S + self._world.now
        return self._key.sign(Claims(endpoints, expires_at=now + self.life_s), now)

    def give(self, host: Host, endpoints: tuple[str, ...]) -> SecretFile:
        """Keep a token for these endpoints in a file of ``host``."""
        self._hosts.append((host, endpoints))
        self._write(host, endpoints)
        return SecretFile(TOKEN_FILE, Secret(host.files[TOKEN_FILE].decode()))

    def _write(self, host: Host, endpoints: tuple[str, ...]) -> None:
        host.files[TOKEN_FILE] = self.token(endpoints).encode()

    def be_late(self, duration_s: float) -> None:
        """Renew no token for a while."""
        self.renewing = False
        self.late_until = max(self.late_until, self._world.now + duration_s + self.life_s)
        self._world.sometimes["tokens renewed late"] += 1
        self._world.after(duration_s, self.be_in_time)

    def be_in_time(self) -> None:
        """Renew all tokens now, and in time from now on."""
        self.renewing = True
        self.renew()

    def renew(self) -> None:
        """Write new tokens into all files now."""
        for host, endpoints in self._hosts:
            self._write(host, endpoints)

    def _renew_again(self) -> None:
        if self.renewing:
            self.renew()
        self._world.after(self.life_s / 2, self._renew_again)
