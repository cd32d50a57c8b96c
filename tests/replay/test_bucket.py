"""Stores in a bucket, on a real S3 server: many writers at once, killed ones, lost answers, and what is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from s3_server import S3Server
from stories import tell, write

from robot_wm.errors import UserError
from robot_wm.replay import table
from robot_wm.replay.location import Bucket, Folder, located
from robot_wm.replay.mcap_import import import_recording
from robot_wm.replay.store import EpisodeStore

WRITER = Path(__file__).with_name("bucket_writer.py")


@pytest.fixture(scope="module")
def server():
    server = S3Server()
    server.make_bucket("lab")
    yield server
    server.close()


@pytest.fixture
def uri(server, monkeypatch, request):
    """A place in the bucket where nothing is yet."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    yield f"s3://lab/{request.node.name.replace('[', '-').replace(']', '')}/store"
    server.conditional = True
    server.on_commit, server.after_commit = (lambda key: "none"), (lambda key: None)


def seeds(store: EpisodeStore) -> list[int]:
    return [episode.source.seed for episode in store.episodes()]


def test_the_server_keeps_conditions(server):
    client = boto3.client(
        "s3", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.put_object(Bucket="lab", Key="one", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(Bucket="lab", Key="one", Body=b"second", IfNoneMatch="*")
    assert client.get_object(Bucket="lab", Key="one")["Body"].read() == b"first"


def test_everything_that_a_folder_does(uri, replay, make_spec, make_episode, tmp_path):
    store = EpisodeStore.create(uri, make_spec())
    episodes = [make_episode(store.spec, number=number) for number in range(8)]
    for episode in episodes[:5]:
        store.append([episode])
    code, log, _ = replay("log", uri, "--json")
    assert (code, log["path"], [row["episodes"] for row in log["rows"]]) == (0, uri, [5, 4, 3, 2, 1, 0])
    assert replay("tag", uri, "early", "--version", 3, "--json")[1]["version"] == 3
    assert replay("show", uri, "--json")[1]["disk_bytes"] > 5 * 10 * 4 * 7
    assert replay("verify", uri, "--json")[1]["damaged"] == []
    assert replay("export", uri, tmp_path / "out", "--version", "early", "--json")[1]["episodes"] == 2
    assert replay("quota", uri, "--max-steps", 30, "--json")[1]["dropped_episodes"] == 2
    assert replay("compact", uri, "--keep-versions", 1, "--json")[0] == 0
    assert seeds(EpisodeStore.open(uri)) == [2, 3, 4]
    assert replay("checkout", uri, "early", "--json")[1]["episodes"] == 2
    other = EpisodeStore.create(tmp_path / "other", store.spec)
    other.append([episodes[1], episodes[7]])
    merged = replay("merge", uri, other.path, "--json")[1]
    assert (merged["added"], merged["already_there"]) == (1, 1)
    assert replay("merge", other.path, uri, "--json")[1]["added"] == 1
    assert seeds(EpisodeStore.open(uri)) == [0, 1, 7]
    with pytest.raises(UserError, match="is in no folder"):
        _ = store.path
    with pytest.raises(UserError, match="there is a replay store already"):
        EpisodeStore.create(uri, store.spec)


def test_recordings_come_in_and_give_way(uri, tmp_path):
    path = write(tmp_path / "many.mcap", tell("..I" * 12))
    first = import_recording(path, uri)
    assert first.added > 0
    assert import_recording(path, uri).already_there == first.added
    rewarded = import_recording(path, uri, reward=lambda obs, command: command[:, 0] * 0 + 1.0)
    assert rewarded.replaced == first.added  # by an overwrite, whose commit is the next one or none
    assert EpisodeStore.open(uri).verify() == []


def meet(server: S3Server, writers: int = 2) -> None:
    """Let the first commits of so many writers arrive before any is served."""
    barrier = threading.Barrier(writers)
    seen: set[str] = set()
    lock = threading.Lock()

    def wait(key: str) -> str:
        with lock:
            first = threading.get_ident() not in seen and len(seen) < writers
            seen.add(threading.get_ident())
        if first:
            barrier.wait(60)
        return "none"

    server.on_commit = wait


def append_at_once(uri: str, spec, make_episode, numbers) -> list[EpisodeStore]:
    stores = [EpisodeStore.open(uri) for _ in numbers]
    threads = [
        threading.Thread(target=store.append, args=([make_episode(spec, number=number)],))
        for store, number in zip(stores, numbers, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return stores


def test_of_two_that_commit_the_same_version_one_comes_after_the_other(server, uri, make_spec, make_episode):
    spec = EpisodeStore.create(uri, make_spec()).spec
    meet(server)
    append_at_once(uri, spec, make_episode, (1, 2))
    store = EpisodeStore.open(uri)
    assert sorted(seeds(store)) == [1, 2]
    assert store.index.number.tolist() == [0, 1]
    assert (store.version, store.verify()) == (3, [])


def test_a_commit_between_reading_and_writing_is_not_built_upon(uri, make_spec, make_episode, monkeypatch):
    """Lance would take an append that has not seen it, whose episodes have the same numbers."""
    store = EpisodeStore.create(uri, make_spec())
    other, write_fragments = EpisodeStore.open(uri), table.write_fragments
    between = [lambda: other.append([make_episode(store.spec, number=1)])]

    def written(*arguments, **options):
        new = write_fragments(*arguments, **options)
        if between:
            between.pop()()
        return new

    monkeypatch.setattr(table, "write_fragments", written)
    store.append([make_episode(store.spec, number=2)])
    again = EpisodeStore.open(uri)
    assert (seeds(again), again.index.number.tolist()) == ([1, 2], [0, 1])


def test_without_the_condition_a_commit_is_lost(server, uri, make_spec, make_episode):
    """What the test above would miss: a server that ignores If-None-Match."""
    spec = EpisodeStore.create(uri, make_spec()).spec
    server.conditional = False
    meet(server)
    stores = append_at_once(uri, spec, make_episode, (1, 2))
    assert [store.version for store in stores] == [2, 2]  # both believe that theirs is the second version
    assert len(seeds(EpisodeStore.open(uri))) == 1


def test_a_commit_whose_answer_is_lost_is_not_made_twice(server, uri, make_spec, make_episode):
    store = EpisodeStore.create(uri, make_spec())
    faults = ["lose the answer"]
    server.on_commit = lambda key: faults.pop() if faults else "none"
    store.append([make_episode(store.spec, number=1)])
    store.append([make_episode(store.spec, number=2)])
    assert faults == []
    assert seeds(EpisodeStore.open(uri)) == [1, 2]
    assert store.version == 3


def test_writers_at_once_of_which_two_are_killed(server, uri, make_spec):
    """Nothing that was committed is lost or doubled, and whoever reads meanwhile sees whole versions."""
    EpisodeStore.create(uri, make_spec())
    writers: dict[str, subprocess.Popen[str]] = {}
    commits = dict.fromkeys(("steady", "before", "after"), 0)
    ready = threading.Event()

    def kill(key: str) -> None:
        writers[key].kill()
        writers[key].wait()

    def on_commit(key: str) -> str:
        if key not in commits:
            return "none"
        ready.wait(60)
        commits[key] += 1
        if key == "before" and commits[key] == 3:  # in mid-write: its data is there, its version is not
            kill(key)
            return "refuse"
        return "lose the answer" if key == "after" and commits[key] == 3 else "none"

    server.on_commit, server.after_commit = on_commit, kill
    for k, name in enumerate(commits):
        writers[name] = subprocess.Popen(
            [sys.executable, str(WRITER), uri, str(100 * k), "6"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | server.environment(name) | {"OMP_NUM_THREADS": "1"},
        )
    ready.set()
    seen: list[str] = []
    while any(writer.poll() is None for writer in writers.values()):
        store = EpisodeStore.open(uri)
        digests = list(store.index.digest)
        assert digests[: len(seen)] == seen  # what was there stays, in its place
        assert store.index.number.tolist() == list(range(len(digests)))
        assert store.verify() == []
        seen = digests
        time.sleep(0.2)
    said = {name: [int(line.split()[1]) for line in writers[name].stdout] for name in writers}
    assert writers["steady"].returncode == 0
    assert said["steady"] == list(range(6))
    store = EpisodeStore.open(uri)
    there = seeds(store)
    assert len(set(there)) == len(there)
    for name, first in zip(writers, (0, 100, 200), strict=True):
        own = [seed for seed in there if first <= seed < first + 100]
        assert own == list(range(first, first + len(own)))  # none twice, none missing, in order
        assert own[: len(said[name])] == said[name]
        # Killed before its version was there it has no more than it said; killed after, one more.
        assert len(own) - len(said[name]) == (name == "after")
    assert store.index.number.tolist() == list(range(len(there)))
    assert EpisodeStore.open(uri).compact(keep_versions=1)["disk_bytes"] > 0
    assert seeds(EpisodeStore.open(uri)) == there


def test_a_cleanup_leaves_what_another_writer_is_about_to_commit(server, uri, make_spec, make_episode):
    store = EpisodeStore.create(uri, make_spec())
    store.append([make_episode(store.spec, number=0)])
    other = EpisodeStore.open(uri)
    tidied = []

    def tidy_first(key: str) -> str:
        if not tidied:
            tidied.append(True)
            other.compact(keep_versions=1)
        return "none"

    server.on_commit = tidy_first
    store.append([make_episode(store.spec, number=1)])
    assert tidied
    assert seeds(EpisodeStore.open(uri)) == [0, 1]
    assert EpisodeStore.open(uri).verify() == []


@pytest.mark.parametrize(
    ("place", "changes", "message"),
    [
        ("s3://lab/none", {}, "s3://lab/none: no replay store here"),
        ("s3://nowhere/store", {}, "s3://nowhere/store: there is no such bucket"),
        ("s3://lab/store", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9 does not answer"),
        ("s3://lab/store", {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no credentials"),
        ("s3://lab", {}, "s3://lab: not s3://bucket/prefix"),
        ("gs://lab/store", {}, "in a folder or at s3://bucket/prefix"),
    ],
)
def test_what_cannot_be_reached_is_told_in_a_line(uri, replay, monkeypatch, place, changes, message):
    for name, value in changes.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    code, _, err = replay("log", place)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert "of-no-use" not in err


def test_a_server_that_says_nothing_is_given_up(uri, monkeypatch):
    """In its own words and by Lance's own limits, here shortened: in earnest it is a minute."""
    from robot_wm.replay import location

    monkeypatch.setattr(location, "_FIRST", location._FIRST | {"timeout": "200ms", "client_max_retries": "0"})
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(UserError, match="does not answer"):
            EpisodeStore.open("s3://lab/store")


def test_a_name_says_where_a_store_is(tmp_path):
    assert located("s3://lab/robots/a1/") == Bucket("lab", "robots/a1")
    assert located(Path("s3://lab/robots/a1")) == Bucket("lab", "robots/a1")  # of whose slashes one is left
    assert str(located("s3://lab/robots/a1")) == "s3://lab/robots/a1"
    assert located(tmp_path) == Folder(tmp_path)
    assert (located("s3://lab/runs/a1/replay").name, located("runs/a1/replay").name) == ("a1", "a1")
    assert located("s3://lab/a").same(located("s3://lab/a/"))
    assert not located("s3://lab/a").same(located("lab/a"))
