"""`robot-wm bundle`: install a bundle on a robot, see what is there, and go back."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.console import emit, messages
from robot_wm.errors import UserError

if TYPE_CHECKING:
    from robot_wm.runtime.installed import Installed, InstalledBundles

app = cyclopts.App(
    name="bundle",
    help="The bundles installed on this robot: install, list, current, roll back.",
    result_action="return_value",
)

Root = Annotated[Path | None, Parameter(help="the store; /var/lib/robot_wm/bundles if /var/lib/robot_wm is there")]
Json = Annotated[bool, Parameter(name="--json", negative="")]
MinVersion = Annotated[
    int,
    Parameter(
        validator=Number(gte=0),
        help="a bundle of an older version is refused here already; the agent's own minimum holds anyway",
    ),
]
AllowOther = Annotated[
    bool, Parameter(negative="", help="let a bundle for another robot or task than the current one's become current")
]


def _store(root: Path | None) -> InstalledBundles:
    from robot_wm.runtime.installed import InstalledBundles, default_root

    return InstalledBundles(root or default_root())


@app.command
def install(
    bundle: Path,
    /,
    *,
    root: Root = None,
    public_key: Path | None = None,
    keep: Annotated[int, Parameter(validator=Number(gte=2))] = 5,
    min_bundle_version: MinVersion = 0,
    allow_other_agent: AllowOther = False,
    json: Json = False,
) -> None:
    """Verify a bundle, copy it into the store and make it the current one. The agent takes it at its next start.

    Parameters
    ----------
    bundle
        Folder agent.rwm, agent.rwm.zip, or zoo:NAME (see `robot-wm zoo list`).
    root
        Folder of the store; default /var/lib/robot_wm/bundles if /var/lib/robot_wm exists, else below your home.
    public_key
        Ed25519 public key (PEM); a bundle that is not signed with its private half is refused.
    keep
        Bundles to keep: this one, the one before, those that a roll back leads to, then the newest; those in use stay
        in any case.
    json
        Print one JSON object.
    """
    from robot_wm.zoo.catalog import locate_bundle

    path, key = locate_bundle(bundle, public_key)
    if key is None:
        messages().print(
            "warning: no --public-key: nobody vouches for this bundle; the agent runs it only with allow_unsigned"
        )
    _tell(
        _store(root).install(
            path, public_key=key, keep=keep, min_version=min_bundle_version, allow_other_agent=allow_other_agent
        ),
        json,
    )


@app.command
def rollback(
    *,
    root: Root = None,
    to: str | None = None,
    public_key: Path | None = None,
    min_bundle_version: MinVersion = 0,
    allow_other_agent: AllowOther = False,
    json: Json = False,
) -> None:
    """Make the bundle current that was so before. The agent takes it at its next start.

    Parameters
    ----------
    root
        Folder of the store.
    to
        First characters of the SHA-256 of an installed bundle, instead of the one before.
    public_key
        Ed25519 public key (PEM); a bundle that is not signed with its private half is refused.
    json
        Print one JSON object.
    """
    _tell(
        _store(root).rollback(
            to, public_key=public_key, min_version=min_bundle_version, allow_other_agent=allow_other_agent
        ),
        json,
    )


@app.command
def current(*, root: Root = None, json: Json = False) -> None:
    """Say which bundle is current.

    Parameters
    ----------
    root
        Folder of the store.
    json
        Print one JSON object.
    """
    _tell(_store(root).current(), json)


@app.command(name="list")
def list_bundles(*, root: Root = None, json: Json = False) -> None:
    """List the installed bundles, the newest first.

    Parameters
    ----------
    root
        Folder of the store.
    json
        Print one JSON object.
    """
    store = _store(root)
    rows = [_row(bundle) for bundle in store.all()]
    if not json:
        # What fits a terminal; --json has the rest.
        rows = [
            {
                "": "*" if row["current"] else "",
                "bundle": row["sha256"][:12],
                "task": row["task"] or row["problem"],
                "steps": row["steps"],
                "installed (UTC)": row["installed_utc"],
            }
            for row in rows
        ]
    emit({"root": str(store.root), "rows": rows}, as_json=json, title="installed bundles")


def _tell(bundle: Installed, as_json: bool) -> None:
    if bundle.problem:
        raise UserError(bundle.problem)
    link = bundle.path.parent / "current"
    emit({**_row(bundle), "bundle_parameter": str(link)}, as_json=as_json, title="bundle")


def _row(bundle: Installed) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "current": bundle.is_current,
        "sha256": bundle.sha256,
        "task": manifest.spec.task if manifest else "",
        "robot": manifest.spec.robot if manifest else "",
        "rate_hz": manifest.spec.control_rate_hz if manifest else None,
        "steps": manifest.lineage.steps if manifest else None,
        "bundle_version": manifest.lineage.bundle_version if manifest else None,
        "spec_sha256": manifest.spec_sha256 if manifest else "",
        "has_signature": bundle.is_signed,
        "installed_utc": datetime.fromtimestamp(bundle.installed_s, timezone.utc).strftime("%Y-%m-%d %H:%M:%S"),
        "size_bytes": bundle.size_bytes,
        "problem": bundle.problem,
        "path": str(bundle.path),
    }
