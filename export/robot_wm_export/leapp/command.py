"""`robot-wm export leapp` and `robot-wm import leapp`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.console import emit, messages
from robot_wm.errors import UserError
from robot_wm.options import Seed

if TYPE_CHECKING:
    from robot_wm.spec import AgentSpec
    from robot_wm_export.leapp.package import LeappPackage

import_app = cyclopts.App(name="import", help="Make a bundle of an agent in another format.")


def export_leapp(
    bundle: Path,
    *,
    out: Path,
    public_key: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Write a bundle as a LEAPP package, as Isaac Lab's exporter does and Isaac ROS Deploy takes.

    Where leapp is installed (pip install 'robot-wm[leapp]') its own runtime computes the package before it is there.

    Parameters
    ----------
    bundle
        Folder agent.rwm, agent.rwm.zip, or zoo:NAME (see `robot-wm zoo list`).
    out
        Folder to write, such as agent.leapp; it must not exist.
    public_key
        Ed25519 public key (PEM) that the bundle must be signed for.
    json
        Print the result as one JSON object.
    """
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.zoo.catalog import locate_bundle
    from robot_wm_export.leapp.writing import export_leapp as write

    with (
        messages().status("writing and checking the package"),
        Bundle.open(*locate_bundle(bundle, public_key)) as found,
    ):
        report = write(found, out)
    for name in report.without_kind:
        messages().print(f"warning: LEAPP has no kind for observation {name}: whoever runs the package must be told")
    check = report.check
    checked: dict[str, Any] = {"checked_by": "nobody: leapp is not installed (pip install 'robot-wm[leapp]')"}
    if check is not None:
        checked = {
            "checked_by": f"leapp {check.leapp_version}",
            "ticks": check.ticks,
            "draws": check.draws,
            "differing_draws": check.differing_draws,
            "largest_difference": check.largest_difference,
        }
    rows = [{"lost": what} for what in report.lost]
    result = {"package": str(report.path), "description": report.description.name, **checked, "rows": rows}
    emit(result, as_json=json, title="LEAPP package")


@import_app.command(name="leapp")
def import_leapp(
    package: Path,
    *,
    out: Path,
    task: str | None = None,
    option: dict[str, str] | None = None,
    spec: Path | None = None,
    robot: str | None = None,
    rate: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    ignore: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    foreign: Annotated[bool, Parameter(negative="")] = False,
    ticks: Annotated[int, Parameter(validator=Number(gte=256, lte=65536))] = 256,
    seed: Seed = 0,
    sign: Path | None = None,
    bundle_version: Annotated[int, Parameter(validator=Number(gte=0, lt=2**31))] = 0,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Make a bundle of a LEAPP package: the same one again if robot_wm wrote it, else a new one for a robot of ours.

    Somebody else's package is mapped on the contract of a task, of an AgentSpec or of a robot, by kinds, names and
    units. Its ONNX graphs are tried in a process with limits first; TorchScript is not loaded.

    Parameters
    ----------
    package
        Folder of the package, or its YAML.
    out
        Folder to write, such as agent.rwm; it must not exist.
    task
        Task whose robot the policy is for; it is played there for the recording.
    option
        Options of the task, such as --option.backend mujoco.
    spec
        JSON file of an AgentSpec instead; the recording is of drawn observations then.
    robot
        Name or path of a robot's firmware YAML instead: the contract is made of it and of what the package tells.
    rate
        Rate at which the policy is computed, in Hz, where the package does not tell it.
    ignore
        Outputs, by name, that nobody wants.
    foreign
        Take a package that robot_wm wrote for somebody else's, too.
    ticks
        Control steps that are recorded and compared with the package as it stands.
    seed
        Seeds the recording.
    sign
        PEM private key (Ed25519) to sign with.
    bundle_version
        Number that grows with each bundle for a robot.
    json
        Print the result as one JSON object.
    """
    from robot_wm.runtime.bundle_writer import check_target
    from robot_wm_export.leapp.ours import is_ours, restore
    from robot_wm_export.leapp.package import read_package

    check_target(out)
    found = read_package(package)
    if is_ours(found) and not foreign:
        given = {"--task": task, "--spec": spec, "--robot": robot, "--rate": rate, "--sign": sign}
        if odd := [name for name, value in given.items() if value is not None]:
            raise UserError(f"{odd[0]}: robot_wm wrote this package, so it is the same bundle again; or --foreign")
        manifest = restore(found, out)
        result = {"bundle": str(out), "kind": manifest.kind, "task": manifest.spec.task}
        emit(result | {"spec_sha256": manifest.spec_sha256, "same_bundle": True}, as_json=json, title="Bundle")
        return
    if sum(value is not None for value in (task, spec, robot)) != 1:
        raise UserError("--task, --spec, --robot: give one of them: what the policy is for")
    emit(
        _foreign(
            found,
            out,
            task=task,
            option=option,
            contract=_contract(found, spec, robot, rate),
            rate=rate,
            ignore=ignore,
            ticks=ticks,
            seed=seed,
            sign=sign,
            bundle_version=bundle_version,
        ),
        as_json=json,
        title="Bundle",
    )


def _contract(package: LeappPackage, spec: Path | None, robot: str | None, rate: float | None) -> AgentSpec | None:
    from robot_wm.spec import AgentSpec

    if spec is not None:
        return AgentSpec.load(spec)
    if robot is not None:
        from robot_wm.firmware.loading import load_robot
        from robot_wm_export.leapp.derived import derived_spec

        return derived_spec(package, load_robot(robot), rate_hz=rate)
    return None


def _foreign(
    package: LeappPackage,
    out: Path,
    *,
    task: str | None,
    option: dict[str, str] | None,
    contract: AgentSpec | None,
    rate: float | None,
    ignore: tuple[str, ...],
    ticks: int,
    seed: int,
    sign: Path | None,
    bundle_version: int,
) -> dict[str, Any]:
    from robot_wm.runtime.signature import load_private_key
    from robot_wm.tasks import agent_spec, make_env, parse_options
    from robot_wm_export.leapp.foreign import import_foreign

    key = None if sign is None else load_private_key(sign)
    console = messages()
    options = parse_options(option or {})
    if contract is None:
        assert task is not None  # of the three exactly one is given
        env = make_env(task, seed=seed, **options)
        contract = agent_spec(env)
        env.close()
    with console.status("reading the package") as status:
        report = import_foreign(
            package,
            contract,
            out,
            task=task,
            options=options,
            rate_hz=rate,
            ignored=ignore,
            ticks=ticks,
            seed=seed,
            sign_key=key,
            bundle_version=bundle_version,
            on_stage=status.update,
        )
    if report.share_beyond:
        console.print(
            f"warning: {report.share_beyond:.1%} of the recorded commands lie beyond what {contract.task} lets an agent"
            " ask for; they are cut"
        )
    if report.untried:
        console.print(
            f"warning: TensorRT was not tried with {', '.join(report.untried)}, which this graph has; ONNX Runtime was"
        )
    manifest = report.manifest
    parity = next(iter(manifest.parity.results.values()))
    return {
        "bundle": str(out),
        "kind": manifest.kind,
        "task": contract.task,
        "robot": contract.robot,
        "spec_sha256": manifest.spec_sha256,
        "signed": key is not None,
        "states": ", ".join(state.name for state in manifest.state) or "none",
        "parity_ticks": manifest.parity.ticks,
        "largest_error": max(parity.largest_error.values()),
        "share_of_commands_beyond": report.share_beyond,
        "same_bundle": False,
    }
