"""The manifests: what their schemas take, who reaches whom, and that the learner's pod saves and goes on."""

import os
import re
import shlex
import signal
import subprocess
import time

import pytest
import yaml
from conftest import TRAIN, kubernetes_plan
from hypothesis import given, settings
from hypothesis import strategies as st
from schemas import complaints

from robot_wm.cli import build_app
from robot_wm.cluster.learner_words import torchrun_words, train_words
from robot_wm.cluster.render import render_kubernetes

PLANS = {
    "smallest": {},
    "large": dict(name="a1-velocity", gpus=8, collector_hosts=64, collectors_per_host=32, learner_memory_gib=2, uid=7),
    "on s3": dict(replay_store="s3://bucket/a1", s3_secret="store-keys", gpu_resource="amd.com/gpu"),
}


def manifests(train=TRAIN, **settings):
    files = render_kubernetes(kubernetes_plan(**settings), train)
    return {file.name: yaml.safe_load(file.text) for file in files if file.name.endswith(".yaml")}


def pods(rendered):
    """Every pod that the manifests ask for: its metadata and its spec."""
    cluster = rendered["ray-cluster.yaml"]["spec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"], rendered["learner.yaml"]["spec"]]
    return [group["template"] for group in groups]


@pytest.mark.parametrize("plan", PLANS)
def test_every_manifest_is_what_its_schema_takes(plan):
    rendered = manifests(**PLANS[plan])
    assert [(m["apiVersion"], m["kind"]) for m in rendered.values()] == [
        ("ray.io/v1", "RayCluster"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("batch/v1", "Job"),
    ]
    found = {name: complaints(manifest) for name, manifest in rendered.items()}
    assert not any(found.values()), found


@pytest.mark.parametrize(
    ("file", "fault", "planted"),
    [
        ("ray-cluster.yaml", "headGroupSpec:", "headGroupSpecs:"),
        ("ray-cluster.yaml", "- groupName: collectors\n      replicas", "- replicas"),
        ("ray-cluster.yaml", "maxReplicas: 1", "maxReplicas: one"),
        ("ray-cluster.yaml", "authOptions: {mode: token}", "authOptions: {mode: tokens}"),
        ("ray-cluster.yaml", 'num-cpus: "8"', "num-cpus: 8"),
        ("ray-cluster.yaml", "rayVersion:", "rayversion:"),
        ("ray-cluster.yaml", "kind: RayCluster", "kind: RayClusters"),
        ("ray-cluster.yaml", "capabilities: {drop: [ALL]}", "capabilities: {drop: ALL}"),
        ("ray-cluster.yaml", "runAsNonRoot: true", "runAsNonroot: true"),
        ("network-policy.yaml", "podSelector:", "podSelectors:"),
        ("network-policy.yaml", "policyTypes: [Ingress]", "policyTypes: Ingress"),
        ("network-policy.yaml", "networking.k8s.io/v1", "networking.k8s.io/v2"),
        ("learner.yaml", "terminationGracePeriodSeconds: 120", 'terminationGracePeriodSeconds: "120"'),
        ("learner.yaml", "backoffLimit: 6", "backofLimit: 6"),
        ("learner.yaml", "secretKeyRef: {name: robot-wm, key", "secretKeyRef: {name: robot-wm, keys"),
        ("learner.yaml", "persistentVolumeClaim: {claimName:", "persistentVolumeClaim: {claim:"),
        ("learner.yaml", "- action: Ignore", "- actions: Ignore"),
    ],
)
def test_a_fault_in_a_manifest_is_found(file, fault, planted):
    (text,) = (one.text for one in render_kubernetes(kubernetes_plan(), TRAIN) if one.name == file)
    assert fault in text
    assert complaints(yaml.safe_load(text.replace(fault, planted)))


@pytest.mark.parametrize("plan", PLANS)
def test_only_the_runs_own_pods_reach_it(plan):
    rendered = manifests(**PLANS[plan])
    policy = rendered["network-policy.yaml"]
    namespaces = {manifest["metadata"]["namespace"] for manifest in rendered.values()}
    assert namespaces == {"robots"}
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    assert chosen
    for pod in pods(rendered):
        assert chosen.items() <= pod["metadata"]["labels"].items(), "a pod that the policy does not choose is open"
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    (rule,) = policy["spec"]["ingress"]
    # No peer means everybody, and a namespaceSelector other namespaces.
    assert rule["from"] == [{"podSelector": {"matchLabels": chosen}}]


def test_two_runs_of_a_namespace_do_not_reach_each_other():
    first, second = manifests(name="first"), manifests(name="second")
    (rule,) = first["network-policy.yaml"]["spec"]["ingress"]
    (peer,) = rule["from"]
    allowed = peer["podSelector"]["matchLabels"].items()
    assert not any(allowed <= pod["metadata"]["labels"].items() for pod in pods(second))


@pytest.mark.parametrize("plan", PLANS)
def test_nothing_runs_as_root_or_on_the_hosts_network(plan):
    rendered = manifests(**PLANS[plan])
    assert rendered["ray-cluster.yaml"]["spec"]["authOptions"] == {"mode": "token"}
    assert rendered["ray-cluster.yaml"]["spec"]["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    for pod in pods(rendered):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
            assert all("hostPort" not in port for port in container.get("ports", []))
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))
    text = "".join(file.text for file in render_kubernetes(kubernetes_plan(**PLANS[plan]), TRAIN))
    assert not re.search(r"NodePort|LoadBalancer|Ingress\b(?!\])", text.replace("policyTypes: [Ingress]", ""))


def test_collectors_gpus_and_the_claim_are_the_plans():
    rendered = manifests(gpus=4, collector_hosts=3, collectors_per_host=8, grace_s=300)
    (group,) = rendered["ray-cluster.yaml"]["spec"]["workerGroupSpecs"]
    assert {group["replicas"], group["minReplicas"], group["maxReplicas"]} == {3}
    assert group["rayStartParams"]["num-cpus"] == "8"
    head = rendered["ray-cluster.yaml"]["spec"]["headGroupSpec"]["rayStartParams"]
    assert head["num-cpus"] == "0"
    learner = rendered["learner.yaml"]["spec"]["template"]["spec"]
    (container,) = learner["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert "--nproc-per-node=4" in container["args"][0]
    # A rank's: each of them has collectors of its own.
    assert "--collectors 6" in container["args"][0]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in learner["volumes"]}
    assert volumes[mounts["/runs/a1"]]["persistentVolumeClaim"] == {"claimName": "runs"}
    # The ranks are killed before the pod is, and told before that.
    waits = {entry["name"]: entry.get("value") for entry in container["env"]}["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]
    assert 30 < int(waits) < learner["terminationGracePeriodSeconds"] == 300


def test_a_stores_keys_are_named_and_never_written():
    rendered = manifests(replay_store="s3://bucket/a1", s3_secret="store-keys")
    (container,) = rendered["learner.yaml"]["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "store-keys"}}]
    containers = [one for pod in pods(rendered) for one in pod["spec"]["containers"]]
    values = {entry["name"] for one in containers for entry in one["env"] if "value" in entry}
    assert not [name for name in values if re.search("KEY|SECRET|PASSWORD|TOKEN", name)]
    assert all("envFrom" not in one for pod in pods(rendered)[:-1] for one in pod["spec"]["containers"])
    assert "envFrom" not in manifests()["learner.yaml"]["spec"]["template"]["spec"]["containers"][0]


@settings(max_examples=20)
@given(words=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), include_characters=" "))))
def test_any_word_reaches_the_learner_as_it_is(words):
    plan = kubernetes_plan()
    (container,) = manifests(tuple(words))["learner.yaml"]["spec"]["template"]["spec"]["containers"]
    (line,) = re.findall(r"^exec (.*) \"\$\{resume\[@\]\}\"$", container["args"][0], re.MULTILINE | re.DOTALL)
    address = ["--ray-address", "robot-wm-head-svc:6379"]
    assert shlex.split(line) == torchrun_words(plan) + train_words(plan, tuple(words)) + address


def test_the_learners_own_command_line_is_one_that_the_program_takes():
    plan = kubernetes_plan(gpus=4)
    words = [*train_words(plan, TRAIN), "--ray-address", "robot-wm-head-svc:6379"]
    _, bound, _ = build_app().parse_args(words, exit_on_error=False, print_error=False)[:3]
    flags = bound.arguments["flags"]
    assert (flags.actor, flags.collectors, str(flags.run_dir)) == ("ray", 2, "/runs/a1")


def started(stand_in, tmp_path, torchrun):
    """The learner's container, started for real in bash, with programs that stand in for Ray's and torch's."""
    (container,) = manifests(run_dir=str(tmp_path / "run"))["learner.yaml"]["spec"]["template"]["spec"]["containers"]
    folder = stand_in("ray")
    stand_in("torchrun", torchrun)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "POD_IP": "10.1.2.3"}
    return subprocess.Popen([*container["command"], *container["args"]], env=environment)


@pytest.mark.parametrize("has_checkpoint", [False, True])
def test_the_learner_goes_on_where_there_is_a_checkpoint(stand_in, tmp_path, has_checkpoint):
    if has_checkpoint:
        (tmp_path / "run/checkpoints/step_000001000").mkdir(parents=True)
    assert started(stand_in, tmp_path, "exit 3").wait(timeout=20) == 3
    told = (tmp_path / "torchrun.told").read_text().split()
    assert ("--resume" in told) == has_checkpoint
    waited, node = (tmp_path / "ray.told").read_text().splitlines()
    assert waited == "health-check --address robot-wm-head-svc:6379"
    assert "--node-ip-address=10.1.2.3" in node.split()
    assert {"--num-cpus=0", "--num-gpus=0"} <= set(node.split())


def test_sigterm_to_the_container_reaches_torchrun_itself(stand_in, tmp_path):
    saves = f"trap 'echo saved >{tmp_path}/saved; exit 0' TERM\necho $$ >{tmp_path}/pid\nwhile :; do sleep 0.05; done"
    process = started(stand_in, tmp_path, saves)
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    assert int((tmp_path / "pid").read_text()) == process.pid
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert (tmp_path / "saved").exists()
