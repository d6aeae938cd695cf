"""The compose demo: names, ports, files and flags that fit each other, and that the program takes."""

import os
import re
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from pico_tunnel.cli import main

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"
PICO = [sys.executable, "-m", "pico_tunnel"]
NODES = ["pico-1", "pico-2", "pico-3"]
PORTS = {"proxy": "8000", "agents": "8001", "admin": "8002"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"])


@pytest.fixture(scope="module")
def nginx() -> str:
    return re.sub(r"#.*", "", (COMPOSE / "nginx.conf").read_text())


def mounts(service: dict[str, Any]) -> list[tuple[Path, str, str]]:
    parts = (each.split(":") for each in service.get("volumes", ()))
    return [((COMPOSE / source).resolve(), target, mode) for source, target, mode in parts]


def test_files_that_are_mounted_exist_and_are_not_written(services: dict[str, Any]) -> None:
    for service in services.values():
        for source, _, mode in mounts(service):
            assert source.exists()
            assert source.is_relative_to(ROOT)
            assert mode == "ro"


def test_only_this_machine_reaches_it(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    taken = [port.split(":")[1] for port in published]
    assert len(set(taken)) == len(taken)


def test_images_have_versions(services: dict[str, Any]) -> None:
    for service in services.values():
        if "build" not in service:
            assert re.search(r":v?\d", service["image"]), service["image"]
        else:
            assert (COMPOSE / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_services_that_others_wait_for_exist(services: dict[str, Any]) -> None:
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)


def test_nodes_find_each_other_and_stop_in_time(services: dict[str, Any], tmp_path: Path) -> None:
    file = COMPOSE / "pico.yaml"
    config = yaml.safe_load(file.read_text())
    for name in NODES:
        node = services[name]
        assert node["networks"]["default"]["aliases"] == config["cluster"]["join"]
        assert node["environment"] == {"NODE_NAME": name}
        assert node["command"] == ["server", "--config.path", "/pico.yaml", "--config.expand-env"]
        assert mounts(node) == [(file, "/pico.yaml", "ro")]
        assert node["stop_grace_period"] == "60s"
        assert node["read_only"]
        assert node["cap_drop"] == ["ALL"]
        assert "http://127.0.0.1:8002/ready" in node["healthcheck"]["test"][-1]
    done = subprocess.run(
        [*PICO, "server", "check", "--config.path", str(file), "--config.expand-env"],
        capture_output=True, text=True, check=False, env={**os.environ, "NODE_NAME": "pico-1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["agent", "load"])
def test_the_program_has_the_commands_and_flags(
    services: dict[str, Any], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = services[name]["command"]
    assert main([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(flag in shown for flag in command if flag.startswith("--"))
    urls = [each for each in command if each.startswith("http://")]
    assert {re.split("[/:]+", url)[1] for url in urls} <= set(services)


def test_the_load_has_values_that_the_program_takes(services: dict[str, Any]) -> None:
    """Run for one hour there; here for a moment, against nothing: the usage is right, and no answer comes."""
    command = services["load"]["command"]
    assert command[-2:] == ["--duration", "1h"]
    moment = [*command[:2], "http://127.0.0.1:9", *command[3:-1], "100ms"]
    done = subprocess.run([*PICO, *moment], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1, done.stderr


def test_the_balancer_has_all_nodes_on_each_port(services: dict[str, Any], nginx: str) -> None:
    for name, port in PORTS.items():
        (block,) = re.findall(rf"upstream {name} {{(.*?)}}", nginx, re.DOTALL)
        assert re.findall(r"server ([\w.:-]+)", block) == [f"{node}:{port}" for node in NODES]
    listening = re.findall(r"listen (\d+);", nginx)
    assert listening == list(PORTS.values())
    assert [port.split(":")[2] for port in services["balancer"]["ports"]] == listening
    assert re.findall(r"proxy_pass http://(\w+);", nginx) == list(PORTS)
    assert nginx.count("{") == nginx.count("}")


def test_tunnels_pass_the_balancer(nginx: str) -> None:
    assert "proxy_http_version 1.1;" in nginx
    assert "proxy_set_header Upgrade $http_upgrade;" in nginx
    assert nginx.count("proxy_read_timeout 1h;") == 2


def test_prometheus_asks_every_node(services: dict[str, Any]) -> None:
    config = yaml.safe_load((COMPOSE / "prometheus.yaml").read_text())
    job, agents = config["scrape_configs"]
    (found,) = agents["dns_sd_configs"]
    command = services["agent"]["command"]
    assert found["names"] == ["agent"]
    assert command[command.index("--admin.bind-addr") + 1] == f":{found['port']}"
    assert job["static_configs"][0]["targets"] == [f"{node}:8002" for node in NODES]
    targets = {target for _, target, _ in mounts(services["prometheus"])}
    assert {f"/etc/prometheus/{name}" for name in config["rule_files"]} <= targets


def test_grafana_finds_dashboards_and_data(services: dict[str, Any]) -> None:
    grafana = services["grafana"]
    inside = {target: source for source, target, _ in mounts(grafana)}
    (provider,) = yaml.safe_load((COMPOSE / "grafana" / "dashboards.yaml").read_text())["providers"]
    folder = inside[provider["options"]["path"]]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (folder / Path(home).name).is_file()
    (source,) = yaml.safe_load((COMPOSE / "grafana" / "datasource.yaml").read_text())["datasources"]
    host, port = source["url"].removeprefix("http://").split(":")
    assert services[host]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_the_tour_names_what_there_is(services: dict[str, Any]) -> None:
    page = (COMPOSE / "README.md").read_text()
    for command in re.findall(r"docker compose (?:exec|restart|kill|start|stop) ([\w-]+)", page):
        assert command in services
    published = {port.split(":")[1] for service in services.values() for port in service.get("ports", ())}
    assert set(re.findall(r"localhost:(\d+)", page)) <= published
    for command in re.findall(r"exec pico-1 pico ([a-z ]+)", page):
        assert main([*command.removesuffix(" hello").split(), "--help"]) == 0


def test_only_the_balancer_is_trusted(services: dict[str, Any]) -> None:
    """Gossip has no key here, so that what is trusted must not be every container."""
    config = yaml.safe_load((COMPOSE / "pico.yaml").read_text())
    address = services["balancer"]["networks"]["default"]["ipv4_address"]
    assert config["proxy"]["trusted_proxies"] == config["upstream"]["trusted_proxies"] == [address]
    (pool,) = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["networks"]["default"]["ipam"]["config"]
    assert ip_address(address) in ip_network(pool["subnet"])
    assert ip_address(address) not in ip_network(pool["ip_range"])


@pytest.mark.parametrize(
    "path", sorted((ROOT / "deploy").rglob("*.yaml")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_who_trusts_private_addresses_has_a_gossip_key(path: Path) -> None:
    text = re.sub(r"#.*", "", path.read_text())
    if re.search(r"trusted_?[pP]roxies: \[private\]", text):
        assert "keys_file:" in text
