"""Check what is in this folder as far as that goes without an engine or a cluster. Used by `make deploy-check`.

Dockerfiles by hadolint; the compose file by the Compose specification; the Helm chart linted and rendered by Helm's own
library in several variants, each manifest compared with Kubernetes' schemas; the web process asked whether it would
start with the settings of the chart and of the compose file (the first argument is a Python that has RegionMIR); units
by systemd-analyze, alert rules by promtool, the balancer's file by haproxy, where these are installed. Nothing is
built, started or pulled.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
CHART = HERE / "helm" / "regionmir"
KUBERNETES = "1.31.0"
ADDRESS = {"externalUrl": "https://regionmir.example", "proxies": "10.244.0.0/16"}
OIDC = {"issuer": "https://login.example", "clientId": "regionmir"}
VARIANTS: dict[str, dict[str, Any]] = {
    "local users": {"web": ADDRESS},
    "s3 and hpa": {"storage": {"s3Url": "s3://films"}, "indexWorker": {"autoscaling": {"kind": "hpa"}}, "web": ADDRESS},
    "fixed and replica": {
        "replicaUrl": True,
        "indexWorker": {"autoscaling": {"kind": "none"}, "replicas": 3},
        "web": ADDRESS | {"signin": "oidc", "oidc": OIDC},
    },
    "claim and monitor": {
        "storage": {"existingClaim": "films"},
        "metrics": {"podMonitor": True},
        "web": ADDRESS | {"signin": "oidc", "oidc": OIDC | {"secretKey": "oidc-secret"}},
    },
    "proxy": {"web": ADDRESS | {"signin": "proxy"}},
}
INCOMPLETE: dict[str, dict[str, Any]] = {
    "web.externalUrl": {},
    "web.oidc.issuer": {"web": ADDRESS | {"signin": "oidc"}},
    "web.oidc.clientId": {"web": ADDRESS | {"signin": "oidc", "oidc": {"issuer": "https://login.example"}}},
    "web.proxies": {"web": {"externalUrl": "https://regionmir.example"}},
}
"""Values with which nobody could sign in, or all would from one address, by the value that is missing."""

CONFIDENTIAL = "compose.oidc-secret.yaml"
BEHIND = {"REGIONMIR_DB_PASSWORD": "x", "REGIONMIR_HTTP_EXTERNAL_URL": "https://regionmir.example"}
BY_OIDC = BEHIND | {
    "REGIONMIR_SIGNIN": "oidc",
    "REGIONMIR_OIDC_ISSUER": "https://login.example",
    "REGIONMIR_OIDC_CLIENT_ID": "regionmir",
    "REGIONMIR_READER_GROUPS": "radiology",
}
SHELLS: dict[str, tuple[list[str], dict[str, str]]] = {
    "local users": (["compose.yaml"], BEHIND),
    "oidc": (["compose.yaml"], BY_OIDC),
    "oidc, confidential": (["compose.yaml", CONFIDENTIAL], BY_OIDC),
    "proxy": (["compose.yaml"], BEHIND | {"REGIONMIR_SIGNIN": "proxy", "REGIONMIR_PROXY_USER_HEADER": "X-User"}),
}
"""Compose files, and what is set in the shell that starts them."""

OF_OTHERS = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1")
"""Kinds that Kubernetes itself has no schema for."""


def main() -> int:
    """Print each check and what it found; return 1 where something is wrong."""
    wrong = [*_dockerfiles(), *_compose(), *_chart(), *_units(), *_others()]
    for line in wrong:
        print("WRONG", line)
    return 1 if wrong else 0


def _dockerfiles() -> Iterator[str]:
    hadolint = Path(sys.executable).with_name("hadolint")
    for file in sorted((HERE / "container").glob("*.Dockerfile")):
        yield from _run(f"hadolint {file.name}", [str(hadolint), str(file)])


def _compose() -> Iterator[str]:
    from compose_spec import PyCompose

    print("compose.yaml by the Compose specification")
    for name in ("compose.yaml", CONFIDENTIAL):
        text = (HERE / name).read_text(encoding="utf-8")
        resolved = yaml.safe_dump(yaml.safe_load(text), sort_keys=False)  # anchors and merges as YAML has them
        try:
            PyCompose.from_yaml(resolved).validate()
        except Exception as error:
            yield f"{name}: {error}"
    for variant, (files, shell) in SHELLS.items():
        yield from _composed(f"{', '.join(files)}: {variant}", files, shell)


def _composed(where: str, files: list[str], shell: dict[str, str]) -> Iterator[str]:
    """Yield why the web service would not start, or what that is set in the shell does not reach it."""
    settings: dict[str, str] = {}
    secrets: set[str] = set()
    for name in files:
        text = _interpolated((HERE / name).read_text(encoding="utf-8"), shell)
        found = yaml.safe_load(text)["services"]["web"]
        for key, value in found["environment"].items():
            if value is not None or key in shell:  # without a value: the shell's, if it has one
                settings[key] = shell[key] if value is None else str(value)
        secrets |= {f"/run/secrets/{one['source']}" for one in found["secrets"]}
    lost = {key for key in shell if key != "REGIONMIR_DB_PASSWORD" and settings.get(key) != shell[key]}
    if lost:
        yield f"{where}: {sorted(lost)} do not reach the web process"
    yield from _starts(where, settings, secrets)


def _interpolated(text: str, shell: dict[str, str]) -> str:
    """Return a compose file with the variables of a shell in it, as `:-` and `:?` say."""
    return re.sub(r"\$\{(\w+):[-?]([^}]*)\}", lambda found: shell.get(found[1]) or found[2], text)


def _chart() -> Iterator[str]:
    import helm_python as helm

    print(f"helm lint and render, Helm {helm.helm_sdk_version()}")
    for finding in helm.lint(str(CHART)).get("messages", []):
        if finding.get("severity") not in (None, "INFO", "UNKNOWN", 0, 1):
            yield f"helm lint: {finding}"
    with helm.Chart.load(str(CHART)) as chart:
        for name, values in VARIANTS.items():
            for path, text in chart.render(values, name="site", namespace="regionmir").items():
                for manifest in yaml.safe_load_all(text):
                    if manifest:
                        yield from _manifest(f"{name}: {path}", manifest)
                        yield from _web(f"{name}: {path}", manifest)
        for missing, values in INCOMPLETE.items():
            try:
                chart.render(values, name="site", namespace="regionmir")
            except Exception as error:
                if f"{missing}:" not in str(error):
                    yield f"without {missing}: {error}"
            else:
                yield f"without {missing}: nothing is said"


def _manifest(where: str, manifest: dict[str, Any]) -> Iterator[str]:
    import kubernetes_validate

    if manifest["apiVersion"] in OF_OTHERS:
        return
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except Exception as error:
        yield f"{where}: {manifest['kind']}: {error}"


def _web(where: str, manifest: dict[str, Any]) -> Iterator[str]:
    """Yield why the web process would not start with the settings of its pod, and what of them no volume holds."""
    if manifest["kind"] != "Deployment" or not manifest["metadata"]["name"].endswith("-web"):
        return
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    settings = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    yield from _starts(where, settings, {mount["mountPath"] for mount in container["volumeMounts"]})


def _starts(where: str, settings: dict[str, str], mounted: set[str]) -> Iterator[str]:
    """Yield why the web process would not start with these settings, and which secret is in nothing that is mounted."""
    if len(sys.argv) < 2:
        return
    secret = settings.get("REGIONMIR_OIDC_CLIENT_SECRET_FILE")
    if secret is not None:
        settings["REGIONMIR_OIDC_CLIENT_SECRET_FILE"] = __file__  # any file that is there
        if not any(Path(secret).is_relative_to(path) for path in mounted):
            yield f"{where}: {secret} is in no volume"
    asked = (
        "from regionmir.core.settings import load_settings\n"
        "from regionmir.web.signin.exposure import is_secure, require_safe\n"
        "settings = load_settings()\nrequire_safe(settings)\nassert is_secure(settings)"
    )
    image = (HERE / "container" / "web.Dockerfile").read_text(encoding="utf-8")
    settings |= dict(re.findall(r"(REGIONMIR_HTTP_HOST)=(\S+)", image))
    yield from _run(f"{where}: settings of the web process", [sys.argv[1], "-c", asked], settings)


def _units() -> Iterator[str]:
    """Yield what systemd says of the units, with a Python that exists in the place of /opt/regionmir's."""
    if shutil.which("systemd-analyze") is None:
        print("units: not checked, no systemd-analyze")
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted((HERE / "systemd").glob("*.service")):
            copied = Path(folder) / file.name.replace("@.", "@1.")
            text = file.read_text(encoding="utf-8")
            for program in ("python", "regionmir"):
                text = text.replace(f"/opt/regionmir/bin/{program} ", f"{sys.executable} ")
            copied.write_text(text, encoding="utf-8")
            yield from _run(f"systemd-analyze verify {file.name}", ["systemd-analyze", "verify", str(copied)])


def _others() -> Iterator[str]:
    checks = {
        "promtool": ["check", "rules", str(HERE / "prometheus" / "rules.yml")],
        "haproxy": ["-c", "-f", str(HERE / "haproxy" / "haproxy.cfg")],
    }
    for program, arguments in checks.items():
        if shutil.which(program) is None:
            print(f"{program}: not checked, not installed")
        else:
            yield from _run(f"{program} {' '.join(arguments[:2])}", [program, *arguments])


def _run(what: str, command: list[str], environment: dict[str, str] | None = None) -> Iterator[str]:
    print(what)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        yield f"{what}: {(done.stdout + done.stderr).strip()}"


if __name__ == "__main__":
    sys.exit(main())
