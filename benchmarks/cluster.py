"""The cost of a cluster: CPU and memory of an idle node by the number of nodes, and the CPU of one more hop."""

import time
from collections.abc import Iterator
from functools import partial

from benchmarks.cases import Case, Run, Samples, alternate, case
from benchmarks.site import ENDPOINT, MeasuredNode, Site, Subject
from benchmarks.traffic import TRAFFIC, conditions, load, request_us
from benchmarks.trees import Tree

SINGLE = "single node"
SIZES = (1, 3, 10, 20)
JOIN_S = 3.0
"""Joining is not idling."""
SPREAD_S = 1.0
"""For a route to reach the other node."""
IDLE_S = 20.0
SHORT_IDLE_S = 5.0


def start_cluster(site: Site, runtime: str, count: int, tree: Tree) -> list[MeasuredNode]:
    """Return nodes that all join the first one."""
    found = [MeasuredNode(site, runtime, tree=tree)]
    while len(found) < count:
        found.append(MeasuredNode(site, runtime, f"--cluster.join=127.0.0.1:{found[0].ports['gossip']}", tree=tree))
    return found


def gossip(run: Run) -> Iterator[Case]:
    """Idle nodes by the size of their cluster; a round is one of the nodes."""
    idle_s = SHORT_IDLE_S if run.short else IDLE_S
    shares: Samples = {}
    memory: Samples = {}
    for runtime in run.runtimes:
        for tree in run.trees:
            for size in SIZES[:3] if run.short else SIZES:
                name = f"{runtime}, {size} nodes{tree.suffix}"
                with Site() as site:
                    cluster = start_cluster(site, runtime, size, tree)
                    time.sleep(JOIN_S)
                    before = [node.server.cpu_s() for node in cluster]
                    began = time.monotonic()
                    time.sleep(idle_s)
                    took_s = time.monotonic() - began
                    shares[name] = [
                        100 * (node.server.cpu_s() - used) / took_s for node, used in zip(cluster, before, strict=True)
                    ]
                    memory[name] = [node.server.resident_bytes() / (1 << 20) for node in cluster]
    about = f"{idle_s:g} s after {JOIN_S:g} s to join, each node a figure"
    yield case(run, "gossip", "an idle node", "% of a core", shares, about, ())
    yield case(run, "gossip", "an idle node", "MiB resident", memory, about, ())


def hop(run: Run) -> Iterator[Case]:
    """A node that forwards to the one with the tunnel, beside itself with a tunnel of its own."""
    text = TRAFFIC["same 3-field head"]
    there = text.replace(ENDPOINT, "there")
    for runtime in run.runtimes:
        with Site() as site:
            measures = []
            for tree in run.trees:
                entry, other = start_cluster(site, runtime, 2, tree)
                entry.start_agent(ENDPOINT, site.service_port)
                other.start_agent("there", site.service_port)
                time.sleep(SPREAD_S)
                port = entry.ports["proxy"]
                single = Subject(port, {f"{SINGLE}{tree.suffix}": entry.server})
                names = {f"entry node{tree.suffix}": entry.server, f"tunnel node{tree.suffix}": other.server}
                measures += [(single, text), (Subject(port, names), there)]
            measures += [(subject, text) for subject in site.references()]
            for subject, head in measures:
                load(subject, head, 1, run.clients, site.folder)
            turns = [
                partial(request_us, subject, head, run.seconds, run.clients, site.folder) for subject, head in measures
            ]
            values = alternate(run.rounds, turns)
        about = conditions(run, run.clients)
        references = (SINGLE, "fixed reply", "nginx", "haproxy")
        yield case(run, "nodes", f"one hop more, {runtime}", "CPU us a request", values, about, references)
