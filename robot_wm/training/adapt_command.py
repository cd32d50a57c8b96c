"""`robot-wm adapt`: a trained agent goes on with recordings of a robot that has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from robot_wm.errors import UserError
from robot_wm.options import NotNegative, Positive, Seed


def adapt(
    source: str,
    /,
    *,
    replay: list[str],
    run_dir: Path,
    updates: Annotated[int, Positive] = 2000,
    rehearse: Annotated[int, NotNegative] = 20_000,
    rehearse_share: Annotated[float, Positive] = 0.5,
    pessimism: Annotated[float | None, NotNegative] = None,
    agent: dict[str, str] | None = None,
    seed: Seed = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: Annotated[int, NotNegative] = 0,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Adapt a trained agent to a changed robot by what was recorded of it; the robot takes no step meanwhile.

    Makes a run that begins with the weights of SOURCE and learns offline: the world model from the recordings, beside
    what the source rehearses in its own simulator, and the policy in imagination alone. Then `robot-wm export
    --checkpoint RUN_DIR` makes the bundle that runs on the robot, deterministically as any bundle does. Rewards that no
    recording tells are the model's own guess. Where it was broken off, `robot-wm train --resume --run-dir RUN_DIR` goes
    on.

    Parameters
    ----------
    source
        Trained agent: a run's folder (its best checkpoint), a checkpoint's, or zoo:NAME.
    replay
        What the changed robot experienced: recordings (NAME.mcap), replay stores or runs' folders, the latter two
        also PATH[@VERSION|TAG][=SHARE] with a share of every batch; give the option once for each.
    run_dir
        Folder of the new run.
    updates
        Updates of model, critic and policy; the first 300 leave the policy as it is.
    rehearse
        Control steps of the source in its own task to learn beside; 0 for none.
    rehearse_share
        Of every batch, of what was rehearsed.
    pessimism
        What a nat of an ensemble's disagreement takes off an imagined reward, reward units; 0 for no ensemble
        [default: 0.5].
    agent
        Other settings of the agent, such as --agent.learning-rate 5e-5 [default: the source's].
    seed
        Seeds rehearsal, sampling and noise.
    device
        Where to learn; auto takes CUDA if there is any.
    threads
        CPU threads of the learner; 0 leaves it to torch.
    json
        Print the result as one JSON object.
    """
    from robot_wm.tasks import parse_options
    from robot_wm.training.adapting import adaptation, recorded
    from robot_wm.training.command import run_to_end
    from robot_wm.training.initial import load_source
    from robot_wm.training.loop import Trainer
    from robot_wm.training.rehearsal import rehearse as play_again

    loaded = load_source(source)
    if rehearse and not rehearse_share < 1:
        raise UserError(f"--rehearse-share {rehearse_share:g}: leaves nothing for the recordings; give less than 1")
    sources = recorded(replay, run_dir, loaded.spec)
    if rehearse:
        folder = run_dir / "rehearsed"
        play_again(loaded, folder, steps=rehearse, seed=seed)
        sources.append(f"{folder}={rehearse_share}")
    config = adaptation(
        source,
        sources,
        run_dir=run_dir,
        updates=updates,
        seed=seed,
        device=device,
        threads=threads,
        changes=parse_options(agent or {}) | ({} if pessimism is None else {"pessimism": pessimism}),
    )
    run_to_end(Trainer(config), "adapt", as_json=json)
