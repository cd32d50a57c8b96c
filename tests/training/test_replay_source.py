"""What `--replay` takes, and what it refuses."""

import pytest
from pydantic import ValidationError

from robot_wm.training.replay_source import ReplaySource


@pytest.mark.parametrize(
    ("text", "path", "version", "share"),
    [
        ("robot", "robot", None, None),
        ("runs/a1=0.25", "runs/a1", None, 0.25),
        ("robot@7", "robot", "7", None),
        ("robot@before_the_fall=0.5", "robot", "before_the_fall", 0.5),
        ("me@host/robot", "me@host/robot", None, None),
        ("me@host/robot@3=1", "me@host/robot", "3", 1.0),
        ("s3://lab/robots/a1@3=0.5", "s3://lab/robots/a1", "3", 0.5),
        ("s3://lab/robots/a1", "s3://lab/robots/a1", None, None),
    ],
)
def test_it_is_read_from_its_end(text, path, version, share):
    source = ReplaySource.parse(text)
    assert (source.path, source.version, source.share) == (path, version, share)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("robot=much", "share 'much' is no number"),
        ("robot=0", "not between 0 and 1"),
        ("robot=1.5", "not between 0 and 1"),
        ("robot=nan", "not between 0 and 1"),
        ("=0.5", "not PATH"),
        ("robot@", "not PATH"),
        ("s3://lab=0.5", "not s3://bucket/prefix"),
        ("gs://lab/robots", "in a folder or at s3://bucket/prefix"),
    ],
)
def test_what_is_none_is_refused(tiny, text, why):
    with pytest.raises(ValidationError, match=why):
        tiny(replay=[text])


@pytest.mark.parametrize(
    ("replay", "offline", "why"),
    [
        (["a=0.5", "b=0.5"], False, "leaves nothing for what is of the run itself"),
        (["a=0.5", "b=0.5", "c"], True, "leaves nothing for what is without a share"),
        (["a=0.6", "b=0.5"], True, "more than 1"),
        (["a=0.5", "a=0.2"], False, "given twice"),
        ([], True, "needs a store"),
    ],
)
def test_shares_that_leave_nothing_are_refused(tiny, replay, offline, why):
    with pytest.raises(ValidationError, match=why):
        tiny(replay=replay, offline=offline)


def test_offline_the_stores_may_share_everything(tiny):
    assert [source.share for source in tiny(replay=["a=0.75", "b=0.25"], offline=True).sources] == [0.75, 0.25]
