"""`robot-wm audit`, and who heeds it: an export refuses what was found."""

import json

import pytest
import torch

from robot_wm.errors import UserError
from robot_wm.inspect.audit_command import audit_command
from robot_wm.inspect.verdict import known_audit, require_real
from robot_wm.training import checkpoint
from robot_wm.training.checkpoint import load_agent, write_agent
from robot_wm.training.rehearsal import rehearse
from robot_wm.zoo.catalog import locate_weights

ZOO = "zoo:cartpole_balance"


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """What the zoo's agent does, with its noise."""
    loaded = load_agent(locate_weights(ZOO))
    return rehearse(loaded, tmp_path_factory.mktemp("played") / "replay", steps=1200, seed=1).path


@pytest.fixture(scope="module")
def liar(tmp_path_factory):
    """The zoo's agent, whose reward head was taught a third more than there was."""
    loaded = load_agent(locate_weights(ZOO))
    agent = loaded.agent
    head = agent.reward
    optimiser = torch.optim.Adam(head.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    sized = agent.config
    classes = torch.randint(0, sized.classes, (256, sized.stoch), generator=generator)
    stoch = torch.nn.functional.one_hot(classes, sized.classes).flatten(1).float()
    deter = torch.empty(256, sized.deter).uniform_(-0.5, 0.5, generator=generator)
    feature = torch.cat([deter, stoch], -1)
    for _ in range(150):
        loss = head.twohot.loss(head.even_logits(feature), torch.full((256,), 1.3)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    folder = tmp_path_factory.mktemp("liar")
    write_agent(folder, loaded.state, agent.state_dict())
    return folder


def run(source, played, out, capsys, **options):
    settings = {"states": 8, "steps": 20, "clips": 1, "json": True} | options
    try:
        audit_command(str(source), replay=str(played), out=out, **settings)
        code = 0
    except SystemExit as error:
        code = error.code
    return code, json.loads(capsys.readouterr().out)


def test_a_shipped_agent_is_sound_and_leaves_a_report(tmp_path, played, capsys):
    code, result = run(ZOO, played, tmp_path / "out", capsys)
    assert code == 0
    assert result["findings"] == {}
    assert result["restored"] == 8
    assert result["not_again"] == 0
    assert result["horizon"] == 8  # that it was trained with
    page = (tmp_path / "out" / "audit.html").read_text()
    assert page.count("data:image/png") == 3
    assert "<img" in page
    assert json.loads((tmp_path / "out" / "audit.json").read_text()) == result


def test_its_twin_that_promises_a_third_more_is_found_and_filmed(tmp_path, played, liar, capsys):
    code, result = run(liar, played, tmp_path / "out", capsys)
    assert code == 1
    assert {"gap", "reward"} <= set(result["findings"])
    assert result["gap"] > 0.2
    (worst,) = result["exploited"]
    assert worst["gap"] > 1.0
    assert "data:image/gif" in (tmp_path / "out" / "audit.html").read_text()


def test_a_world_that_changed_under_a_sound_agent_is_found(tmp_path, played, capsys):
    code, result = run(ZOO, played, tmp_path / "out", capsys, option={"randomisation": "harsh"})
    assert code == 1
    assert "world" in result["findings"]
    assert result["changed"] == {"randomisation": "harsh"}


FOUND = {"gap_at_least": 0.3, "horizon": 5, "findings": {"gap": "as it was put then"}}


def test_an_export_refuses_what_an_audit_found():
    with pytest.raises(UserError, match=r"run: .*\+30.0% .*--max-gap 0.1.*--allow lets it out"):
        require_real(FOUND, 0.1, origin="run")
    require_real(FOUND, 0.4, origin="run")
    require_real({}, 0.1, origin="run")  # never audited
    with pytest.raises(UserError, match="rewards are late"):
        require_real({"gap_at_least": 0.0, "findings": {"lag": "rewards are late"}}, 0.1, origin="run")


@pytest.mark.parametrize(
    ("written", "counts"),
    [
        ({"checkpoint": "step_000000100"}, True),
        ({"checkpoint": "step_000000200"}, False),  # of another checkpoint
        ({"checkpoint": "step_000000100", "changed": {"backend": "mujoco"}}, False),  # of another world
        (None, False),
    ],
)
def test_the_newest_audit_of_a_checkpoint_counts(tmp_path, written, counts):
    path = checkpoint.path_at(tmp_path, 100)
    if written is not None:
        (tmp_path / "audit").mkdir()
        (tmp_path / "audit" / "audit.json").write_text(json.dumps(written))
    assert known_audit(path, FOUND) == (written if counts else FOUND)


def test_export_asks(tmp_path, liar):
    """Of a checkpoint whose training had found something; the store and the bundle's other parts are not reached."""
    from robot_wm_export.command import export

    loaded = load_agent(liar)
    state = loaded.state.model_copy(update={"reality": FOUND})
    (tmp_path / "found").mkdir()
    write_agent(tmp_path / "found", state, loaded.agent.state_dict())
    with pytest.raises(UserError, match="--allow lets it out"):
        export(checkpoint=tmp_path / "found", out=tmp_path / "agent.rwm")
    assert not (tmp_path / "agent.rwm").exists()
    export(checkpoint=tmp_path / "found", out=tmp_path / "agent.rwm", allow=True)
    manifest = json.loads((tmp_path / "agent.rwm" / "manifest.json").read_text())
    assert manifest["lineage"]["reality"] == FOUND
