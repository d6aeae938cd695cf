"""The Helm chart, by what it was rendered to: selectors, ports, probes, and configurations that the program takes.

With helm on the PATH, the chart is rendered again and compared, and its own checks are tried.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pico_core.config.agent import AgentConfig
from pico_core.config.declare import members
from pico_core.config.server import ServerConfig
from pico_core.server.admin.pages import PATHS
from pico_tunnel.start import read_config
from tests.certificates import issue, write_authority
from tests.deploy.manifests import Manifest, chosen, load, named, of_kind, pods, port_names
from tests.deploy.render import CHART, DIGEST, GOLDEN, SETS, digest, helm

PICO = [sys.executable, "-m", "pico_tunnel"]
PROBED = {"/health", "/ready"}

needs_helm = pytest.mark.skipif(
    shutil.which("helm") is None, reason="left out: there is no helm on the PATH to render deploy/helm/pico again"
)


@pytest.fixture(params=SETS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return load(GOLDEN / f"{request.param}.yaml")


@pytest.fixture
def hardened() -> list[Manifest]:
    return load(GOLDEN / "hardened.yaml")


@pytest.fixture
def agents() -> list[Manifest]:
    return load(GOLDEN / "agents.yaml")


def server(manifests: list[Manifest]) -> Manifest:
    return dict(named(manifests, "StatefulSet", "pico")["spec"])


def server_file(manifests: list[Manifest]) -> Manifest:
    return dict(yaml.safe_load(named(manifests, "ConfigMap", "pico")["data"]["server.yaml"]))


def has_workers(manifests: list[Manifest]) -> bool:
    return bool(server_file(manifests).get("workers", 1) != 1)


# --- rendered ---------------------------------------------------------------------------------------------------------


def test_the_chart_is_as_it_was_rendered() -> None:
    assert DIGEST.read_text().strip() == digest(), "run: python -m tests.deploy.render (with helm on the PATH)"


@needs_helm
@pytest.mark.parametrize("name", SETS)
def test_helm_renders_the_same(name: str) -> None:
    done = helm(values=SETS[name])
    assert done.returncode == 0, done.stderr
    assert done.stdout == (GOLDEN / f"{name}.yaml").read_text()


@needs_helm
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["config.drain_delay=45s"], "config.drain_delay (45s) must be less than config.grace_period (45s)"),
        (["config.drain_delay=1m", "config.grace_period=59s"], "config.drain_delay (1m) must be less"),
        (["config.grace_period=1m"], "config.grace_period (1m) must be less than terminationGracePeriodSeconds (60s)"),
        (["config.grace_period=1h0.5s"], "config.grace_period (1h0.5s) must be less than"),
        (["terminationGracePeriodSeconds=45"], "must be less than terminationGracePeriodSeconds (45s)"),
        (["config.grace_period=50"], "grace_period"),
        (["config.prxy.timeout=1s"], "prxy"),
        (["config.cluster.node_id=a"], "all pods would have one node ID"),
        (["autoscaling.enabled=true", "autoscaling.cpuUtilization=0"], "set cpuUtilization or tunnelsPerNode"),
        (["gateway.enabled=true"], "gateway.parentRefs: name the Gateway"),
        (["replicaCount=3"], "replicaCount"),
        (["agents[0].name=web"], "listeners"),
        (
            ["server.enabled=false", "agents[0].name=w", "agents[0].listeners[0].endpoint_id=e",
             "agents[0].listeners[0].addr=w:80"],
            "agents: w: config.connect.url is missing",
        ),
    ],
)  # fmt: skip
def test_what_helm_refuses(settings: list[str], message: str) -> None:
    done = helm(*(each for setting in settings for each in ("--set", setting)))
    assert done.returncode != 0
    assert message in done.stderr


@needs_helm
def test_helm_takes_what_just_fits() -> None:
    times = ["config.drain_delay=44.9s", "config.grace_period=59999ms", "config.drain_delay=59.5s"]
    assert helm(*(each for time in times for each in ("--set", time))).returncode == 0


@needs_helm
def test_dashboards_and_agents_alone() -> None:
    boards = helm("--set", "monitoring.dashboards.enabled=true")
    maps = [each for each in yaml.safe_load_all(boards.stdout) if each and "dashboard" in each["metadata"]["name"]]
    assert sorted(json.loads(text)["uid"] for each in maps for text in each["data"].values()) == [
        "pico-gossip", "pico-nodes", "pico-overview",
    ]  # fmt: skip
    alone = helm("--set", "server.enabled=false", "--set", "agents[0].name=w",
                 "--set", "agents[0].listeners[0].endpoint_id=e", "--set", "agents[0].listeners[0].addr=w:80",
                 "--set", "agents[0].config.connect.url=https://t.example.com")  # fmt: skip
    kinds = {each["kind"] for each in yaml.safe_load_all(alone.stdout) if each}
    assert kinds == {"ServiceAccount", "ConfigMap", "Deployment"}


# --- structure --------------------------------------------------------------------------------------------------------


def test_names_are_unique_and_in_the_namespace(manifests: list[Manifest]) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(set(names)) == len(names)
    assert {each["metadata"]["namespace"] for each in manifests} == {"pico"}
    assert "Secret" not in {kind for kind, _ in names}
    assert all(len(name) <= 63 for _, name in names)


def test_selectors_choose_the_pods_they_are_for(manifests: list[Manifest]) -> None:
    own = server(manifests)["template"]["spec"]
    for each in of_kind(manifests, "StatefulSet", "Deployment"):
        assert chosen(manifests, each["spec"]["selector"]["matchLabels"]) == [each["spec"]["template"]["spec"]]
    for service in of_kind(manifests, "Service"):
        assert chosen(manifests, service["spec"]["selector"]) == [own]
    for each in of_kind(manifests, "PodDisruptionBudget"):
        assert chosen(manifests, each["spec"]["selector"]["matchLabels"]) == [own]
        assert each["spec"]["maxUnavailable"] == 1
    for policy in of_kind(manifests, "NetworkPolicy"):
        assert chosen(manifests, policy["spec"]["podSelector"]["matchLabels"]) == [own]


def test_ports_exist(manifests: list[Manifest]) -> None:
    (pod,) = (spec for _, spec in pods(manifests) if spec["containers"][0]["name"] == "pico")
    ports = port_names(pod)
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind(manifests, "Service")}
    for service in services.values():
        for port in service["ports"]:
            assert ports[port["targetPort"]][1] == port.get("protocol", "TCP")
    for policy in of_kind(manifests, "NetworkPolicy"):
        rules = [*policy["spec"]["ingress"], *policy["spec"]["egress"]]
        numbers = {(port["port"], port.get("protocol", "TCP")) for rule in rules for port in rule.get("ports", ())}
        listed = ("proxy", "upstream", "admin") if has_workers(manifests) else tuple(ports)
        assert numbers - {(53, "TCP"), (53, "UDP")} == {ports[name] for name in listed}
    for ingress in of_kind(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            backend = rule["http"]["paths"][0]["backend"]["service"]
            assert backend["port"]["name"] in {port["name"] for port in services[backend["name"]]["ports"]}
    for route in of_kind(manifests, "HTTPRoute"):
        (backend,) = route["spec"]["rules"][0]["backendRefs"]
        assert backend["port"] in {port["port"] for port in services[backend["name"]]["ports"]}


def test_the_two_services(manifests: list[Manifest]) -> None:
    nodes = named(manifests, "Service", "pico-nodes")["spec"]
    assert nodes["clusterIP"] == "None"
    assert nodes["publishNotReadyAddresses"]
    assert [port["name"] for port in nodes["ports"]] == ["gossip", "gossip-udp", "admin"]
    assert nodes["ports"][0]["port"] == nodes["ports"][1]["port"]
    traffic = named(manifests, "Service", "pico")["spec"]
    assert "clusterIP" not in traffic
    assert "publishNotReadyAddresses" not in traffic
    assert [port["name"] for port in traffic["ports"]] == ["proxy", "upstream"]
    assert server(manifests)["serviceName"] == "pico-nodes"


def test_probes_ask_for_paths_that_are_answered_without_a_token(manifests: list[Manifest]) -> None:
    (container,) = server(manifests)["template"]["spec"]["containers"]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/health", "readiness": "/ready", "liveness": "/health",
    }  # fmt: skip
    assert {probe["path"] for probe in probes.values()} == PROBED
    assert {path.strip("/") for path in PROBED} <= {path.strip("/").split("/")[0] for path in PATHS}
    scheme = "HTTPS" if "tls" in server_file(manifests).get("admin", {}) else "HTTP"
    assert {(probe["port"], probe["scheme"]) for probe in probes.values()} == {("admin", scheme)}


def test_pods_have_no_rights(manifests: list[Manifest]) -> None:
    """The restricted profile of the Pod Security Standards, a root file system that is read-only, and no token."""
    for _, pod in pods(manifests):
        assert not pod["automountServiceAccountToken"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert own["readOnlyRootFilesystem"]
            assert not own["allowPrivilegeEscalation"]


def test_mounts_and_volumes(manifests: list[Manifest]) -> None:
    maps = {each["metadata"]["name"] for each in of_kind(manifests, "ConfigMap")}
    for _, pod in pods(manifests):
        volumes = {each["name"]: each for each in pod.get("volumes", ())}
        mounts = [mount for container in pod["containers"] for mount in container.get("volumeMounts", ())]
        assert {mount["name"] for mount in mounts} == set(volumes)
        assert all(mount["readOnly"] for mount in mounts)
        assert {each["configMap"]["name"] for each in volumes.values() if "configMap" in each} <= maps
        assert all(each["secret"]["defaultMode"] == 0o440 for each in volumes.values() if "secret" in each)


def test_gossip_is_for_the_nodes_alone(manifests: list[Manifest]) -> None:
    """With workers each has a gossip port of its own, which the system chooses: nodes reach every port of a node."""
    own = server(manifests)["template"]["spec"]
    gossip = port_names(own)["gossip"][0]
    policy = named(manifests, "NetworkPolicy", "pico")["spec"]

    def lets_gossip(rule: Manifest) -> bool:
        return "ports" not in rule or any(port["port"] == gossip for port in rule["ports"])

    for rules, peers in ((policy["ingress"], "from"), (policy["egress"], "to")):
        (rule,) = filter(lets_gossip, rules)
        assert ("ports" in rule) is not has_workers(manifests)
        (peer,) = rule[peers]
        assert chosen(manifests, peer["podSelector"]["matchLabels"]) == [own]


@needs_helm
@pytest.mark.parametrize(("setting", "own_ports"), [("extraArgs={--workers=2}", True), ("config.workers=1", False)])
def test_workers_by_a_flag(setting: str, own_ports: bool) -> None:
    policy = named(list(filter(None, yaml.safe_load_all(helm("--set", setting).stdout))), "NetworkPolicy", "pico")
    assert ("ports" not in policy["spec"]["ingress"][0]) is own_ports


def test_the_test_pod_can_ask_the_admin_port(manifests: list[Manifest]) -> None:
    """It has the token where the port asks for one, and the name and issuer of its certificate; and no other secret."""
    pod = named(manifests, "Pod", "pico-test")
    (container,) = pod["spec"]["containers"]
    admin = server_file(manifests).get("admin", {})
    words = container["args"]
    flags = dict(zip(words[4::2], words[5::2], strict=True))
    assert words[:4] == ["server", "status", "cluster", "nodes"]
    assert ("--server.token-file" in flags) is ("auth" in admin)
    assert flags["--server.url"].startswith("https:" if "tls" in admin else "http:")
    assert ("--server.tls.root-cas" in flags) is ("tls" in admin)
    files = {
        f"{mount['mountPath']}/{item['path']}"
        for mount in container.get("volumeMounts", ())
        for volume in pod["spec"]["volumes"]
        for item in volume["secret"]["items"]
        if mount["name"] == volume["name"]
    }
    assert files == {path for path in flags.values() if path.startswith("/")}
    help_text = subprocess.run([*PICO, *words[:4], "--help"], capture_output=True, text=True, check=True).stdout
    assert all(flag in help_text for flag in flags)


@needs_helm
def test_without_a_token_there_is_nothing_to_test_with() -> None:
    done = helm("--set", "config.admin.auth.hmac_secret_key_file=/k")
    assert [each for each in yaml.safe_load_all(done.stdout) if each and each["kind"] == "Pod"] == []


def test_the_monitors_and_the_scaler(hardened: list[Manifest]) -> None:
    monitor = named(hardened, "ServiceMonitor", "pico")["spec"]
    labels = monitor["selector"]["matchLabels"].items()
    (service,) = [each for each in of_kind(hardened, "Service") if labels <= each["metadata"]["labels"].items()]
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"].strip("/") in {path.strip("/") for path in PATHS}
    assert monitor["jobLabel"] in service["metadata"]["labels"]
    rules = named(hardened, "PrometheusRule", "pico")["spec"]
    assert rules == yaml.safe_load((CHART.parents[1] / "monitoring" / "rules.yaml").read_text())
    scaler = named(hardened, "HorizontalPodAutoscaler", "pico")["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "pico"}
    assert "replicas" not in server(hardened)


def test_every_key_has_a_place_in_the_values() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]["config"]["properties"]) == set(members(ServerConfig))
    agent = schema["properties"]["agents"]["items"]["properties"]["config"]["properties"]
    assert set(agent) == set(members(AgentConfig)) - {"listeners"}
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values) == set(schema["properties"]) - {"global"}


# --- configurations -------------------------------------------------------------------------------------------------


def secrets(folder: Path) -> None:
    """Write the files that the secrets of the hardened values hold."""
    for name in ("tls", "keys", "token"):
        (folder / name).mkdir()
    files = issue(folder, "pico.internal", "pico.example.com")
    shutil.copy(files.cert, folder / "tls" / "tls.crt")
    shutil.copy(files.key, folder / "tls" / "tls.key")
    shutil.copy(write_authority(folder), folder / "tls" / "ca.crt")
    subprocess.run([*PICO, "token", "key", str(folder / "keys" / "token.key")], capture_output=True, check=True)
    made = subprocess.run([*PICO, "server", "key"], capture_output=True, text=True, check=True)
    (folder / "keys" / "gossip.keys").write_text(made.stdout)
    (folder / "token" / "token").write_text("a.b.c")


def test_the_program_takes_the_servers_file(
    manifests: list[Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = server(manifests)
    (container,) = spec["template"]["spec"]["containers"]
    assert container["args"] == ["server", "--config.path", "/config/server.yaml", "--config.expand-env"]
    secrets(tmp_path)
    text = named(manifests, "ConfigMap", "pico")["data"]["server.yaml"]
    file = tmp_path / "server.yaml"
    file.write_text(text.replace("/secrets", str(tmp_path)))
    done = subprocess.run(
        [*PICO, "server", "check", "--config.path", str(file), "--config.expand-env"],
        capture_output=True, text=True, check=False, env={**os.environ, "POD_NAME": "pico-0"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.setenv("POD_NAME", "pico-0")
    config = read_config(ServerConfig, {}, str(file), expand_env=True)
    assert config.cluster.node_id_prefix == "pico-0-"
    assert [str(each) for each in yaml.safe_load(text)["cluster"]["join"]] == ["pico-nodes"]
    assert config.drain_delay_s < config.grace_period_s < spec["template"]["spec"]["terminationGracePeriodSeconds"]
    ports = port_names(spec["template"]["spec"])
    assert {config.proxy.bind_addr.port, config.upstream.bind_addr.port, config.admin.bind_addr.port} == {
        ports["proxy"][0], ports["upstream"][0], ports["admin"][0],
    }  # fmt: skip
    assert config.cluster.gossip.bind_addr.port == ports["gossip"][0] == ports["gossip-udp"][0]


def agent_file(manifests: list[Manifest], deployment: Manifest, folder: Path) -> AgentConfig:
    """Read the file of a Deployment's agent as the program reads it."""
    pod = deployment["spec"]["template"]["spec"]
    (container,) = [each for each in pod["containers"] if each["name"] == "agent"]
    assert container["args"] == ["agent", "start", "--config.path", "/config/agent.yaml"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "config"]
    text = named(manifests, "ConfigMap", volume["configMap"]["name"])["data"]["agent.yaml"]
    file = folder / f"{deployment['metadata']['name']}.yaml"
    file.write_text(text.replace("/secrets", str(folder)))
    config = read_config(AgentConfig, {}, str(file))
    assert config.admin.bind_addr is not None
    (port,) = container["ports"]
    assert port["containerPort"] == config.admin.bind_addr.port
    probes = {container[f"{name}Probe"]["httpGet"]["path"]: name for name in ("readiness", "liveness")}
    assert probes == {"/ready": "readiness", "/health": "liveness"}
    assert {container[f"{name}Probe"]["httpGet"]["port"] for name in probes.values()} == {port["name"]}
    assert config.grace_period_s < pod["terminationGracePeriodSeconds"]
    return config


def test_the_program_takes_the_agents_files(agents: list[Manifest], tmp_path: Path) -> None:
    secrets(tmp_path)
    found = {
        each["metadata"]["name"]: agent_file(agents, each, tmp_path) for each in of_kind(agents, "Deployment")
    }  # fmt: skip
    web, data = found["pico-agent-web"], found["pico-agent-data"]
    assert [each.endpoint_id for each in data.listeners] == ["my-db", "reports"]
    assert [each.endpoint_id for each in web.listeners] == ["web"]
    service = named(agents, "Service", "pico")
    upstream = {port["name"]: port["port"] for port in service["spec"]["ports"]}["upstream"]
    text = named(agents, "ConfigMap", "pico-agent-web")["data"]["agent.yaml"]
    assert yaml.safe_load(text)["connect"]["url"] == f"http://pico:{upstream}"
    assert named(agents, "Deployment", "pico-agent-web")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_monitor_of_agents(agents: list[Manifest]) -> None:
    monitor = named(agents, "PodMonitor", "pico-agents")["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    chosen_pods = chosen(agents, monitor["selector"]["matchLabels"])
    assert len(chosen_pods) == 2
    assert all(endpoint["port"] in port_names(pod) for pod in chosen_pods)


def test_an_agent_as_a_sidecar(tmp_path: Path) -> None:
    manifests = load(CHART.parents[1] / "kubernetes" / "sidecar.yaml")
    (deployment,) = of_kind(manifests, "Deployment")
    secrets(tmp_path)
    config = agent_file(manifests, deployment, tmp_path)
    pod = deployment["spec"]["template"]["spec"]
    service, agent = pod["containers"]
    pause_s = service["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert config.grace_period_s + pause_s < pod["terminationGracePeriodSeconds"]
    assert config.listeners[0].addr.port == service["ports"][0]["containerPort"]
    assert agent["securityContext"]["readOnlyRootFilesystem"]
    assert chosen(manifests, deployment["spec"]["selector"]["matchLabels"]) == [pod]


def test_the_notes_name_commands_that_exist() -> None:
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    commands = re.findall(r"pico ((?:[a-z]+ )+)", notes)
    for command in {each.strip() for each in commands}:
        words = command.split()
        while words:
            done = subprocess.run([*PICO, *words, "--help"], capture_output=True, check=False, timeout=60)
            if done.returncode == 0:
                break
            words.pop()
        assert words, f"pico {command}"
