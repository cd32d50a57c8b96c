"""BoardConfig: how the computer that an agent runs on is set up for it.

One YAML file of firmware_configs/boards each: power mode, clocks, CPUs, priorities, network and memory.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import Field, model_validator

from robot_wm.firmware.frozen import Count, FrozenModel
from robot_wm.runtime.engines import EngineKind
from robot_wm.spec import Positive

# SCHED_FIFO takes 1 to 99; 99 is the kernel's own (migration, watchdog), and starving those hangs the machine.
RtPriority = Annotated[int, Field(ge=1, le=98)]
CpuIndex = Annotated[int, Field(ge=0)]
BoardName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class PowerMode(FrozenModel):
    """One mode of nvpmodel. The number means another mode on another module: the start script checks the name."""

    id: Annotated[int, Field(ge=0)] = Field(description="number, of nvpmodel -m")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")] = Field(description="name, as nvpmodel -q prints it")


class Clocks(FrozenModel):
    """What jetson_clocks does: lock the clocks at the power mode's maximum, and turn the fan up."""

    lock: bool
    fan_full: bool


class Cpu(FrozenModel):
    """Cores, and those that only the agent runs on."""

    count: Count = Field(description="cores, online in the power mode")
    isolated: tuple[CpuIndex, ...] = Field(default=(), description="core numbers, for the agent alone")

    @model_validator(mode="after")
    def _consistent(self) -> Cpu:
        if len(set(self.isolated)) != len(self.isolated):
            raise ValueError(f"isolated cores {self.isolated} are not unique")
        for core in self.isolated:
            if core >= self.count:
                raise ValueError(f"isolated core {core} of {self.count} cores (0 to {self.count - 1})")
        if len(self.isolated) == self.count:
            raise ValueError(f"all {self.count} cores are isolated: none is left for the system")
        if 0 in self.isolated:
            raise ValueError("core 0 takes the interrupts and cannot be isolated")
        return self

    @property
    def others(self) -> tuple[int, ...]:
        """Cores that are left to the system."""
        return tuple(core for core in range(self.count) if core not in self.isolated)


class Priorities(FrozenModel):
    """SCHED_FIFO priorities. Control loop and DDS share one: the middleware's threads carry the loop's messages."""

    agent: RtPriority = Field(description="1 to 98, SCHED_FIFO, of the control loop and DDS once the agent is up")
    launch: RtPriority = Field(description="1 to 98, SCHED_FIFO, of ros2 launch, and of the agent while it starts")

    @model_validator(mode="after")
    def _ordered(self) -> Priorities:
        if self.launch >= self.agent:
            raise ValueError(f"launch priority {self.launch} is not below agent priority {self.agent}")
        return self


class Dds(FrozenModel):
    """The middleware and the network interfaces that it may use."""

    rmw: Literal["rmw_fastrtps_cpp", "rmw_cyclonedds_cpp"]
    # Addresses and no names: Fast DDS knows interfaces by name only since 2.14, and Humble has 2.6.
    interfaces: tuple[IPv4Address, ...] = Field(
        default=(), description="IPv4 addresses of this computer that DDS may use; none: every interface"
    )
    shared_memory: bool = Field(description="true or false: whether processes of this computer may share memory")

    @model_validator(mode="after")
    def _unique(self) -> Dds:
        if len(set(self.interfaces)) != len(self.interfaces):
            raise ValueError("interfaces has an address twice")
        return self


class Engine(FrozenModel):
    """What policies run on here."""

    kind: EngineKind = Field(default="onnx", description="onnx (CPU) or tensorrt (GPU)")
    precision: Literal["fp32", "fp16"]
    memory_budget_mib: Annotated[int, Field(ge=128)] = Field(description="MiB, of the agent's whole process")


class Rates(FrozenModel):
    """What the GPU computes at most, dense: the arithmetic side of a roofline."""

    fp32_tflops: Positive = Field(description="TFLOP/s")
    fp16_tflops: Positive = Field(description="TFLOP/s, dense")
    int8_tops: Positive = Field(description="TOP/s, dense")
    source: Annotated[str, Field(min_length=1)] = Field(description="where these figures are published")


class BoardConfig(FrozenModel):
    """One computer of a robot, or a workstation."""

    name: BoardName
    module: str = Field(description="what the maker calls it")
    jetpack: str | None = Field(default=None, description="version that the modes were looked up for; None: no Jetson")
    l4t: str | None = Field(default=None, description="Jetson Linux version of that JetPack")
    ros_distro: Literal["humble", "jazzy", "kilted"] = Field(description="ROS 2 distribution of this Ubuntu release")
    memory_mib: Count | None = Field(default=None, description="MiB of memory, shared with the GPU on a Jetson")
    memory_bandwidth_gb_s: Positive | None = Field(default=None, description="GB/s")
    rates: Rates | None = Field(default=None, description="of the GPU; None: no GPU, or nothing published")
    power_mode: PowerMode | None = None
    clocks: Clocks | None = None
    cpu: Cpu
    priorities: Priorities
    dds: Dds
    engine: Engine

    @model_validator(mode="after")
    def _consistent(self) -> BoardConfig:
        if (self.jetpack is None) != (self.power_mode is None):
            raise ValueError("jetpack and power_mode go together: a Jetson has both")
        budget = self.engine.memory_budget_mib
        if self.memory_mib is not None and budget >= self.memory_mib:
            raise ValueError(f"engine.memory_budget_mib {budget} MiB is not below memory_mib {self.memory_mib} MiB")
        return self

    def at_precision(self, precision: Literal["fp32", "fp16"]) -> BoardConfig:
        """This board with policies in another precision."""
        return self.model_copy(update={"engine": self.engine.model_copy(update={"precision": precision})})

    @property
    def is_jetson(self) -> bool:
        """Whether NVIDIA's nvpmodel and jetson_clocks are there."""
        return self.power_mode is not None
