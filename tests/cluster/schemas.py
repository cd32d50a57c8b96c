"""What Kubernetes, KubeRay and Slurm take: their own schemas, as strict as an API server with strict fields."""

import json
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate

GOLDEN = Path(__file__).parent / "golden"
# The oldest whose Jobs ignore disruptions by a stable field, and the newest that the package has.
KUBERNETES = ("1.31", kubernetes_validate.latest_version())


def complaints(manifest: dict) -> list[str]:
    """What a manifest's own schema says against it; of a RayCluster its pods' as well."""
    if manifest.get("apiVersion") != "ray.io/v1":
        return _kubernetes(manifest)
    found = [f"{error.json_path}: {error.message}" for error in _ray_cluster().iter_errors(manifest)]
    if manifest.get("kind") != "RayCluster":
        return [*found, f"$.kind: {manifest.get('kind')} is no RayCluster"]
    spec = manifest["spec"]
    groups = [spec.get("headGroupSpec", {}), *spec.get("workerGroupSpecs", [])]
    pods = [{"apiVersion": "v1", "kind": "PodTemplate", "template": group.get("template")} for group in groups]
    return found + [complaint for pod in pods for complaint in _kubernetes(pod)]


def _kubernetes(manifest: dict) -> list[str]:
    found = []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{version}: {error.json_path}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            found.append(error.message)
    return found


@cache
def _ray_cluster() -> jsonschema.Draft202012Validator:
    golden = json.loads((GOLDEN / "raycluster-v1.json").read_text())
    return jsonschema.Draft202012Validator(_closed(golden["schema"]))


def _closed(schema):
    """The schema without room for keys that it does not name, which a server drops, and refuses where it is strict."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    is_schema = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if is_schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed["additionalProperties"] = False
    return closed


def sbatch_options() -> set[str]:
    """The long options of sbatch, from its manual."""
    lines = (GOLDEN / "sbatch-options.txt").read_text().splitlines()
    return {line for line in lines if line.startswith("--")}
