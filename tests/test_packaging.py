"""What the server is packed in: by the grammars of Docker, Compose and systemd, and by the rules that shut it in."""

import configparser
import io
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from compose_spec import PyCompose
from dockerfile_parse import DockerfileParser

from emofuse.interfaces import cli
from emofuse.server.access import check_exposure
from emofuse.server.run import GRACE_S
from emofuse.server.settings import ServerSettings

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "packaging" / "emofuse.service"
INSTRUCTIONS = {"FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}
KNOWN = INSTRUCTIONS | {"ENTRYPOINT", "CMD"}


def options_of_serve(arguments: list[str]) -> dict[str, Any]:
    """What `emofuse serve` understands of a command line; it exits where there is an unknown option or a bad value."""
    command = typer.main.get_command(cli.app).commands["serve"]  # pyright: ignore[reportAttributeAccessIssue]
    return command.make_context("serve", list(arguments)).params


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """Instruction and value, in order."""
    with io.BytesIO((ROOT / "Dockerfile").read_bytes()) as file:
        steps = [(s["instruction"], s["value"]) for s in DockerfileParser(fileobj=file).structure]
    return [step for step in steps if step[0] != "COMMENT"]


@pytest.fixture(scope="module")
def last_stage(dockerfile: list[tuple[str, str]]) -> dict[str, str]:
    """The last value of each instruction of what is shipped."""
    begin = max(i for i, (instruction, _) in enumerate(dockerfile) if instruction == "FROM")
    return dict(dockerfile[begin:])


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The compose file's services; its grammar is checked by the parser."""
    found = PyCompose.from_yaml((ROOT / "compose.yaml").read_text(encoding="utf-8")).to_dict()
    assert found["networks"]["inside"] == {"internal": True}
    return found["services"]


@pytest.fixture(scope="module")
def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), strict=True)
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    parser.read(UNIT, encoding="utf-8")
    assert parser.sections() == ["Unit", "Service", "Install"]
    return parser["Service"]


def test_the_image_has_no_root_and_takes_nothing_from_addresses(
    dockerfile: list[tuple[str, str]], last_stage: dict[str, str]
) -> None:
    assert {instruction for instruction, _ in dockerfile} <= KNOWN
    assert all(value.startswith("python:3.12-slim") for instruction, value in dockerfile if instruction == "FROM")
    user, _, group = last_stage["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert last_stage["VOLUME"] in last_stage["ENTRYPOINT"]
    assert f"TMPDIR={last_stage['VOLUME']}" in last_stage["ENV"]


def test_the_image_starts_the_server_with_tokens(last_stage: dict[str, str]) -> None:
    program, command, *fixed = json.loads(last_stage["ENTRYPOINT"])
    assert (program, command) == ("emofuse", "serve")
    given = options_of_serve(fixed + json.loads(last_stage["CMD"]))
    assert str(given["port"]) == last_stage["EXPOSE"]
    check_exposure(ServerSettings(host=given["host"], token_file=given["token_file"]), insecure=given["insecure"])
    assert not ServerSettings(host=given["host"]).is_loopback


def test_the_image_has_what_serves_and_no_torch(dockerfile: list[tuple[str, str]]) -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extra,) = [value.partition("=")[2] for i, value in dockerfile if i == "ARG" and value.startswith("EXTRAS")]
    installed = [*wanted["dependencies"], *wanted["optional-dependencies"][extra]]
    assert not any("torch" in requirement or requirement.startswith("emofuse[") for requirement in installed)
    assert not any("torch" in value for _, value in dockerfile)


def test_the_build_is_sent_what_it_copies_and_no_more(dockerfile: list[tuple[str, str]]) -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    copies = [value.split()[:-1] for i, value in dockerfile if i == "COPY" and not value.startswith("--from")]
    assert sent == {name for names in copies for name in names}
    assert all((ROOT / name).exists() for name in sent)


def test_the_health_check_asks_what_needs_no_token(last_stage: dict[str, str], services: dict[str, Any]) -> None:
    command = json.loads(last_stage["HEALTHCHECK"].partition("CMD ")[2])
    assert services["emofuse"]["healthcheck"]["test"] == ["CMD", *command]
    compile(command[2], "health check", "exec")
    assert "/healthz" in command[2]


def test_every_container_is_shut_in(services: dict[str, Any]) -> None:
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {"mem_limit", "cpus", "pids_limit", "tmpfs"} <= set(service)
        assert not {"privileged", "network_mode", "pid", "devices"} & set(service)
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", ()))


def test_the_server_in_compose_has_no_way_out(services: dict[str, Any], last_stage: dict[str, str]) -> None:
    server = services["emofuse"]
    assert server["networks"] == ["inside"]
    assert "ports" not in server
    assert server["user"] == last_stage["USER"]
    assert server["volumes"] == [f"state:{last_stage['VOLUME']}"]
    assert seconds(server["stop_grace_period"]) > GRACE_S
    given = options_of_serve(json.loads(last_stage["ENTRYPOINT"])[2:] + server["command"])
    assert given["token_file"] == Path("/run/secrets") / server["secrets"][0]


def test_the_proxy_leads_to_the_server(services: dict[str, Any], last_stage: dict[str, str]) -> None:
    proxy = services["proxy"]
    assert "inside" in proxy["networks"]
    assert proxy["command"][-1] == f"emofuse:{last_stage['EXPOSE']}"
    listens = proxy["command"][proxy["command"].index("--from") + 1]
    assert proxy["ports"][0].endswith(listens)


def test_the_unit_starts_the_server(unit: configparser.SectionProxy) -> None:
    program, command, *arguments = shlex.split(unit["ExecStart"])
    assert (Path(program).name, command) == ("emofuse", "serve")
    given = options_of_serve(arguments)
    credential = unit["LoadCredential"].partition(":")[0]
    assert str(given["token_file"]) == f"%d/{credential}"
    assert str(given["state"]) == f"%S/{unit['StateDirectory']}"
    assert ServerSettings(host=given["host"]).is_loopback
    assert seconds(unit["TimeoutStopSec"]) > GRACE_S


def test_the_unit_shuts_the_server_in(unit: configparser.SectionProxy) -> None:
    on = "DynamicUser PrivateTmp PrivateDevices ProtectHome NoNewPrivileges RestrictNamespaces ProtectKernelModules"
    assert {name: unit[name] for name in on.split()} == dict.fromkeys(on.split(), "yes")
    assert unit["ProtectSystem"] == "strict"
    assert unit["CapabilityBoundingSet"] == ""
    assert set(unit["RestrictAddressFamilies"].split()) == {"AF_INET", "AF_INET6", "AF_UNIX"}
    assert (unit["IPAddressDeny"], unit["IPAddressAllow"]) == ("any", "localhost")
    assert re.fullmatch(r"\d+G", unit["MemoryMax"])


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, unit: configparser.SectionProxy) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    program = shlex.split(unit["ExecStart"])[0]
    copy = tmp_path / UNIT.name  # with a program that is there
    copy.write_text(UNIT.read_text(encoding="utf-8").replace(program, str(shutil.which("true"))), encoding="utf-8")
    for command in (["verify", "--man=no"], ["security", "--offline=true", "--no-pager", "--threshold=20"]):
        found = subprocess.run(["systemd-analyze", *command, str(copy)], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr
        assert UNIT.name not in found.stderr
