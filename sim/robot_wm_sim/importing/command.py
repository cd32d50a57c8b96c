"""`robot-wm robot`: a package with your robot and a first task, from its description, and what its motors are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from robot_wm.atomic import atomic_directory
from robot_wm.console import emit, messages
from robot_wm.errors import UserError
from robot_wm_sim.actuators.command import fit_actuator
from robot_wm_sim.importing.settings import Kind, Settings

app = cyclopts.App(name="robot", help="Your own robot: a package with it and a first task, from its description.")
app.command(name="fit-actuator")(fit_actuator)


@app.command(name="import")
def import_robot(
    urdf: Path,
    /,
    *,
    out: Path,
    controllers: Path | None = None,
    controller: str = "",
    kind: Kind | None = None,
    name: str = "",
    effort: Annotated[list[str] | None, Parameter(negative="")] = None,
    velocity: Annotated[list[str] | None, Parameter(negative="")] = None,
    passive: Annotated[list[str] | None, Parameter(negative="")] = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Write a Python package for a robot: the Robot, a first task with its AgentSpec, firmware settings and a test.

    Install it (pip install -e OUT), and train, export, firmware and hil know the robot and its task by name. What the
    description does not say is guessed, and every guess is marked in the files.

    Parameters
    ----------
    urdf
        The robot's description; of xacro what xacro makes of it.
    out
        Folder to write, which is not there yet; it appears when all is written.
    controllers
        ros2_control's controllers.yaml: order of the joints, command interface and update rate.
    controller
        Which of its controllers the agent commands by; by default the one with most joints.
    kind
        What it is; by default guessed from the description, and said.
    name
        Of the package; by default the description's own.
    effort
        Largest effort of drives, N·m or N: VALUE for all joints that the description gives none, JOINT=VALUE for one.
    velocity
        Largest speed of drives, rad/s or m/s, likewise.
    passive
        A joint that nothing drives, such as a caster's.
    json
        Print the result as one JSON object.
    """
    from robot_wm_sim.importing.imported import build_robot, read_description, write_description
    from robot_wm_sim.importing.names import package_name, task_name
    from robot_wm_sim.importing.package import write_files
    from robot_wm_sim.importing.ros2_control import read_controllers

    if out.exists() or out.is_symlink():
        raise UserError(f"{out}: is there already; name a folder that is not")
    settings = Settings.of_texts(effort or [], velocity or [], passive or [])
    if controller and controllers is None:
        raise UserError(f"--controller {controller}: --controllers says of which file")
    told = read_controllers(controllers, controller) if controllers else None
    imported = read_description(urdf, kind, settings, told)
    package = package_name(name, imported.root.get("name", ""), origin=str(urdf))
    task = task_name(package, imported.plan.kind)
    with atomic_directory(out, replace=False) as folder:
        description = folder / "src" / package / "description"
        description.mkdir(parents=True)
        try:
            write_description(imported, description)
            robot = build_robot(imported, package, description / "robot.urdf")
            values = write_files(folder, imported, robot, task, told)
        except UserError as error:  # of a file that nobody has seen yet
            raise UserError(str(error).replace(str(description / "robot.urdf"), str(urdf))) from None
    for note in imported.notes:
        messages().print(f"{urdf.name}: {note}", markup=False)
    result = {
        "package": str(out),
        "robot": package,
        "kind": f"{imported.plan.kind} ({imported.reason})",
        "task": task,
        "commands": ", ".join(imported.plan.actions),
        "by": f"{values['mode']}, {values['rate']:g} Hz",
        "next": f"pip install -e {out}",
    }
    emit(result, as_json=json, title="robot import")
