"""What a run on a cluster is told: how many hosts of which kind, and where it may listen.

One learner's host with GPUs, and collectors' hosts without. Names and numbers are checked here, so that what is
rendered is what a scheduler takes.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from robot_wm.training.stopping import PATIENCE_S

# A run that is told to end waits so long for a simulator, and then has a checkpoint to write.
_LEAST_GRACE_S = round(PATIENCE_S) + 22
FIRST_RAY_WITH_TOKENS = (2, 52)
# RFC 1035, as KubeRay asks of a cluster; it adds up to ten characters of its own to 53.
_LABEL = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_WORD = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"

Label = Annotated[str, Field(pattern=_LABEL, max_length=53)]
Subdomain = Annotated[str, Field(pattern=_SUBDOMAIN, max_length=253)]
Word = Annotated[str, Field(pattern=_WORD, max_length=64)]
Port = Annotated[int, Field(ge=1024, le=65535)]
# What the training run gets from the rendered files, and nobody may say twice.
OURS = ("--actor", "--ray-address", "--collectors", "--run-dir", "--resume", "--device", "--replay-store")


class RunPlan(BaseModel):
    """One learner's host and the hosts of its collectors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Label = Field(default="robot-wm", description="name of the run on the cluster")
    gpus: int = Field(default=1, ge=1, le=16, description="GPUs of the learner's host, each of them a rank")
    learner_cpus: int = Field(default=8, ge=1, le=1024, description="cores of the learner's host")
    learner_memory_gib: int = Field(default=64, ge=1, le=65536, description="memory of the learner's host, GiB")
    collector_hosts: int = Field(default=1, ge=1, le=10_000, description="hosts that collect")
    collectors_per_host: int = Field(
        default=8, ge=1, le=1024, description="collectors of each of them, one core each, with --envs environments each"
    )
    collector_memory_gib: int = Field(default=16, ge=1, le=65536, description="memory of a host that collects, GiB")
    grace_s: int = Field(
        default=120, ge=_LEAST_GRACE_S, le=3600, description="seconds from SIGTERM to SIGKILL, for the checkpoint"
    )
    run_dir: PurePosixPath = Field(description="folder of the run, on a disk that outlives the host")
    replay_store: str | None = Field(
        default=None,
        pattern=r"^(s3://[\w.-]+(/[\w./=-]*)?|/[\w./=-]+)$",
        description="where the run's episodes are kept, such as s3://BUCKET/PREFIX [in the folder of the run]",
    )

    @field_validator("run_dir")
    @classmethod
    def _absolute(cls, path: PurePosixPath) -> PurePosixPath:
        if not path.is_absolute() or not re.fullmatch(r"[\w./=-]+", str(path)):
            raise ValueError(f"an absolute path of letters, digits and ._=- is needed, got {str(path)!r}")
        return path

    @model_validator(mode="after")
    def _shared_out(self) -> RunPlan:
        if self.collectors % self.gpus:
            raise ValueError(
                f"{self.collectors} collectors (collector_hosts {self.collector_hosts} of collectors_per_host"
                f" {self.collectors_per_host}) cannot be shared out evenly among the ranks of gpus {self.gpus}"
            )
        return self

    @property
    def collectors(self) -> int:
        """All collectors of the run."""
        return self.collector_hosts * self.collectors_per_host


class KubernetesPlan(RunPlan):
    """A run under KubeRay."""

    image: str = Field(
        pattern=r"^[\w][\w./:@-]*$",
        max_length=512,
        description="container image with robot-wm, torch and Ray; every host runs it",
    )
    namespace: Label = Field(description="namespace of the run; nothing else should run there")
    claim: Subdomain = Field(description="PersistentVolumeClaim that is mounted at the folder of the run")
    ray_version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = Field(description="version of Ray in the image")
    s3_secret: Subdomain | None = Field(
        default=None, description="Secret whose keys are the environment of the store, AWS_ACCESS_KEY_ID and so on"
    )
    gpu_resource: Annotated[str, Field(pattern=r"^[a-z0-9.-]+/[a-z0-9.-]+$")] = Field(
        default="nvidia.com/gpu", description="name under which the cluster lends GPUs"
    )
    uid: int = Field(default=1000, ge=1, le=2**31 - 1, description="user and group that everything runs as; never root")

    @field_validator("ray_version")
    @classmethod
    def _has_tokens(cls, version: str) -> str:
        if tuple(int(part) for part in version.split(".")[:2]) < FIRST_RAY_WITH_TOKENS:
            least = ".".join(str(part) for part in FIRST_RAY_WITH_TOKENS)
            raise ValueError(f"Ray {version} lets in whoever reaches its ports; {least} and newer ask for a token")
        return version

    @model_validator(mode="after")
    def _reachable(self) -> KubernetesPlan:
        if self.replay_store is not None and self.replay_store.startswith("s3://") and self.s3_secret is None:
            raise ValueError(
                f"replay_store {self.replay_store} needs s3_secret, the Secret with the store's environment"
            )
        return self


class SlurmPlan(RunPlan):
    """A run under Slurm: a heterogeneous job of the learner's node and the collectors' nodes."""

    interface: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,14}$")] = Field(
        description="network interface, of every node, that Ray and the learner's ranks speak over, such as ib0"
    )
    ray_port: Port = Field(default=6379, description="port of Ray's head on the learner's node")
    time_limit_min: int = Field(
        default=1440, ge=5, le=527_040, description="time limit of the job, min; then it is requeued"
    )
    partition: Word | None = Field(default=None, description="partition of the learner's node [the cluster's own]")
    collector_partition: Word | None = Field(default=None, description="partition of the collectors [the learner's]")
    account: Word | None = Field(default=None, description="account that pays [the user's own]")
    venv: PurePosixPath | None = Field(
        default=None, description="virtual environment of this program, with Ray, on every node [what PATH has]"
    )

    @field_validator("venv")
    @classmethod
    def _absolute_venv(cls, path: PurePosixPath | None) -> PurePosixPath | None:
        return None if path is None else cls._absolute(path)

    @model_validator(mode="after")
    def _time_to_save(self) -> SlurmPlan:
        if self.grace_s >= 60 * self.time_limit_min:
            raise ValueError(f"grace_s {self.grace_s} s is no less than time_limit_min {self.time_limit_min} min")
        return self


def told_twice(train: tuple[str, ...]) -> str | None:
    """The first of a training run's words that the rendered files say themselves."""
    return next((word for word in train if word.split("=")[0] in OURS), None)
