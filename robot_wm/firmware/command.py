"""`robot-wm firmware`: render a robot's settings in their real formats, and check an agent against them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from robot_wm.console import emit, messages
from robot_wm.errors import UserError
from robot_wm.firmware.check import check_robot, require_robot
from robot_wm.firmware.loading import brought_robots, load_board, load_robot
from robot_wm.firmware.shipped import known
from robot_wm.firmware.urdf import urdf_limits
from robot_wm.plugins import brought_by

app = cyclopts.App(name="firmware", help="Drive and computer settings of a robot: render them, check an agent.")


@app.command
def render(
    *,
    robot: str,
    board: str,
    out: Path,
    bundle: Path | None = None,
    public_key: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write drive settings, systemd units, DDS profiles, udev rules and an MCU header into a new folder.

    Parameters
    ----------
    robot
        Name of a robot (see `robot-wm firmware list`), or the path of its YAML file.
    board
        Name of the computer on the robot, or the path of its YAML file.
    out
        Folder to write; it appears when all is written.
    bundle
        Bundle (or zoo:NAME) that will run there: it is checked against the robot first, and the header carries its
        spec's hash.
    public_key
        Ed25519 public key (PEM): rendered, too, and the robot runs no bundle but those signed with its private half.
    force
        Replace the folder if it was rendered before.
    """
    from robot_wm.firmware.render import render_all, write_all
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.zoo.catalog import locate_bundle

    robot_config, board_config = load_robot(robot), load_board(board)
    spec = None
    if bundle is not None:
        with Bundle.open(*locate_bundle(bundle, public_key)) as opened:
            spec = opened.spec
            opened.manifest.require_version(robot_config.min_bundle_version, origin=str(bundle))
            has_precision = board_config.engine.precision in ("fp32", *opened.manifest.parity.precisions)
        require_robot(spec, robot_config, origin=str(bundle))
        if not has_precision:
            messages().print(
                f"warning: {bundle} has no {board_config.engine.precision} graph: the agent is set to fp32; export with"
                f" --precision {board_config.engine.precision}",
            )
            board_config = board_config.at_precision("fp32")
    files = render_all(robot_config, board_config, spec=spec, public_key=_pem(public_key))
    write_all(files, out, force=force)
    messages().print(f"{out}: {len(files)} files; {out / 'README.md'} says where each goes")


def _pem(public_key: Path | None) -> str | None:
    from robot_wm.runtime.signature import load_public_key

    if public_key is None:
        return None
    load_public_key(public_key)
    return public_key.read_text(encoding="ascii")


@app.command
def check(
    *,
    bundle: Path,
    robot: str,
    urdf: Path | None = None,
    public_key: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Check that a bundle's agent may drive a robot: limits nest, gains and names are equal, watchdogs make sense.

    Parameters
    ----------
    bundle
        Folder agent.rwm, agent.rwm.zip, or zoo:NAME (see `robot-wm zoo list`).
    robot
        Name of a robot (see `robot-wm firmware list`), or the path of its YAML file.
    urdf
        Description of the robot, whose limits replace those that the YAML file repeats.
    public_key
        Ed25519 public key (PEM); a bundle that is not signed with its private half is refused.
    json
        Print the result as one JSON object.
    """
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.zoo.catalog import locate_bundle

    config = load_robot(robot)
    limits = urdf_limits(urdf, config.joints) if urdf is not None else None
    with Bundle.open(*locate_bundle(bundle, public_key)) as opened:
        spec = opened.spec
        opened.manifest.require_version(config.min_bundle_version, origin=str(bundle))
    violations = check_robot(spec, config, urdf=limits)
    result: dict[str, Any] = {
        "robot": config.name,
        "bundle": str(bundle),
        "spec_hash": spec.content_hash(),
        "violations": len(violations),
        "rows": [{"where": v.where, "found": v.inner, "but": v.outer, "rule": v.rule} for v in violations],
    }
    emit(result, as_json=json, title=f"{bundle.name} on {config.name}")
    if violations:
        raise UserError(f"{bundle}: {len(violations)} rules of robot {config.name} do not hold; first: {violations[0]}")


@app.command(name="list")
def list_known(*, json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """List the robots and boards that come with the library, and the robots of other distributions.

    Parameters
    ----------
    json
        Print the result as one JSON object.
    """
    robots = [load_robot(name) for name in known("robots")]
    boards = [load_board(name) for name in known("boards")]
    rows = [{"kind": "robot", "name": r.name, "drives": r.drive_type, "what": r.description} for r in robots]
    for name, entry in brought_robots().items():
        rows.append({"kind": "robot", "name": name} | _brought(name, brought_by(entry)))
    rows += [{"kind": "board", "name": b.name, "drives": "", "what": b.module} for b in boards]
    emit({"rows": rows}, as_json=json)


def _brought(name: str, by: str) -> dict[str, str]:
    """The rest of a row, of a robot that need not be as good as ours."""
    try:
        robot = load_robot(name)
    except UserError as error:
        return {"drives": "", "what": f"cannot be used: {error}"}
    return {"drives": robot.drive_type, "what": f"{robot.description} ({by})"}
