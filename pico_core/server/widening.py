"""Which policies let more pass than those before them: what a reload tells of, pattern by pattern.

Two lists of policies are compared by the patterns that they name, since names of endpoints are not known. For each
pattern, the policy is looked up that has all of its endpoints, as a request looks up the one that has its endpoint.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, ip_network

from pico_core.config.networks import IpNetwork, NamedNetwork
from pico_core.config.policies import PolicyConfig
from pico_core.config.values import TENANT_SEPARATOR

NO_POLICY = PolicyConfig(endpoints=("*",))
"""The policy of endpoints that no configured policy names."""

_LIMITS = ("requests_per_second", "max_in_flight", "max_body_bytes")
_STRICTNESS = ("allow", "warn", "refuse")


def widened(before: tuple[PolicyConfig, ...], after: tuple[PolicyConfig, ...]) -> Iterator[tuple[str, list[str]]]:
    """Yield each pattern for which ``after`` lets more pass than ``before``, with the names of the rules."""
    older, newer = _Lookup(before), _Lookup(after)
    compared: dict[tuple[PolicyConfig, PolicyConfig], list[str]] = {}
    for pattern in dict.fromkeys(pattern for each in (*before, *after) for pattern in each.endpoints):
        pair = older.holder(pattern), newer.holder(pattern)
        if pair not in compared:
            compared[pair] = looser_rules(*pair)
        if compared[pair]:
            yield pattern, compared[pair]


class _Lookup:
    """The policies by their patterns; of two with the same pattern, the first holds."""

    def __init__(self, policies: tuple[PolicyConfig, ...]) -> None:
        self._policies = policies
        self._places: dict[str, int] = {}
        for place, policy in enumerate(policies):
            for pattern in policy.endpoints:
                self._places.setdefault(pattern, place)

    def holder(self, pattern: str) -> PolicyConfig:
        """Return the policy that holds for all endpoints of a pattern, as far as none before it has some of them."""
        tenant, slash, name = pattern.rpartition(TENANT_SEPARATOR)
        wider = [*_wider(name), *(f"{tenant}{slash}{each}" for each in _wider(name) if slash)]
        places = [self._places[each] for each in wider if each in self._places]
        return self._policies[min(places)] if places else NO_POLICY


def _wider(pattern: str) -> Iterator[str]:
    """Yield a pattern and each beginning of it with a star."""
    yield pattern
    stem = pattern.removesuffix("*")
    for length in range(len(stem) + 1):
        yield f"{stem[:length]}*"


def looser_rules(before: PolicyConfig, after: PolicyConfig) -> list[str]:
    """Return the names of the rules by which ``after`` lets pass what ``before`` does not.

    Another user of ``basic_auth`` is not one: that is how a password is exchanged.
    """
    if before is after or before == after:
        return []
    found = []
    old, new = before.allowed_networks, after.allowed_networks
    if old and not (new and _are_within(new, old)):
        found.append("allowed_networks")
    if not _are_within(before.denied_networks, after.denied_networks):
        found.append("denied_networks")
    if before.basic_auth and not after.basic_auth:
        found.append("basic_auth")
    for name in _LIMITS:
        most, now = getattr(before, name), getattr(after, name)
        if most and (not now or now > most):
            found.append(name)
    if before.requests_per_second and after.requests_per_second and after.most_at_once > before.most_at_once:
        found.append("burst")
    if _STRICTNESS.index(after.second_agent) < _STRICTNESS.index(before.second_agent):
        found.append("second_agent")
    return found


def _are_within(inner: Iterable[NamedNetwork], outer: Iterable[NamedNetwork]) -> bool:
    """Say whether each of the networks ``inner`` lies in one of ``outer``."""
    around = [ip_network(each) for named in outer for each in named.networks]
    return all(_is_within(ip_network(each), around) for named in inner for each in named.networks)


def _is_within(network: IpNetwork, around: list[IpNetwork]) -> bool:
    for each in around:
        if isinstance(network, IPv4Network):
            if isinstance(each, IPv4Network) and network.subnet_of(each):
                return True
        elif not isinstance(each, IPv4Network) and network.subnet_of(each):
            return True
    return False
