"""A sampler that is saved by segments and its store comes back bit for bit, and little is written for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marked_steps import STORED, make, stored

from robot_wm.errors import UserError
from robot_wm.replay import segments
from robot_wm.replay.rows import digest
from robot_wm.replay.saved import SavedReplay
from robot_wm.replay.segments import named
from robot_wm.replay.store import EpisodeStore

HERE = Path("replay.safetensors")


class Written:
    """A sampler, its store and the folder of its segments, which a run's checkpoints would share."""

    def __init__(self, folder, spec, **options):
        self.folder, self.options = folder, options
        self.sampler = make(spec, **options)
        self.store = EpisodeStore.create(folder / "store", spec)
        self.saved = SavedReplay(folder / "segments", self.sampler, self.store)
        self.rng = np.random.default_rng(3)

    def add(self, episode, *, kept=True, latents=True, stream=None):
        """Add an episode, ``kept`` by the store too or by none, as one that was cut by a restart is."""
        values = stored(episode.source.seed / 8, episode.source.seed % 256, rows=(episode.length,))
        stream = self.sampler.add_episode(episode, stored=values if latents else None, stream=stream)
        if kept:
            self.store.append([episode])
            self.sampler.places.add(digest(episode), stream=stream, steps=episode.length)

    def rewrite(self, windows):
        """Write other latents to so many windows, as updates do."""
        if self.sampler.windows:
            index = self.sampler.look(windows, self.rng).index[:, 1:]
            value = self.rng.normal(size=(*index.shape, 3))
            self.sampler.write_back(index, {"deter": value, "stoch": (value[..., :2] * 9).astype(np.uint8)})

    def save(self):
        """The state, after which nothing is left that it does not name."""
        state = self.saved.state_dict()
        needed = {segments.file_name(name) for name in named(state)}
        for file in (self.folder / "segments").glob("*"):
            if file.name not in needed:
                file.unlink()
        return state, self.store.version

    def files(self):
        return {file.name for file in (self.folder / "segments").glob("*")}

    def restored(self, state, version, **options):
        sampler = make(self.sampler.spec, **self.options | {"seed": 99} | options)
        saved = SavedReplay(self.folder / "segments", sampler, EpisodeStore.open(self.store.path))
        saved.load_state_dict(state, version=version, origin=HERE)
        return saved


def require_same(ours, theirs):
    a, b = ours.state_dict(), theirs.state_dict()
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=name)


EPISODE = st.tuples(st.just("add"), st.integers(2, 30), st.booleans(), st.booleans())
PIECES = st.tuples(st.sampled_from(["pieces", "later piece"]), st.integers(4, 30), st.booleans(), st.booleans())
ACTS = st.one_of(
    EPISODE,
    PIECES,
    st.tuples(st.just("rewrite"), st.integers(1, 6)),
    st.tuples(st.just("save")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("forget"), st.integers(1, 40)),
)


@given(acts=st.lists(ACTS, min_size=3, max_size=14), history=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_whatever_was_done_a_restart_continues_bit_for_bit(make_spec, make_episode, acts, history):
    spec = make_spec(history=history, image=True)
    with TemporaryDirectory() as folder:
        run = Written(Path(folder), spec, capacity_steps=48)
        for number, (act, *told) in enumerate([*acts, ("restart",)]):
            if act in ("add", "pieces", "later piece"):
                steps, kept, latents = told
                episode = make_episode(spec, number=number, steps=steps)
                parts = {"add": [episode], "pieces": cut(episode, steps // 2), "later piece": cut(episode, 2)[1:]}
                for part in parts[act]:
                    run.add(part, kept=kept, latents=latents)
            elif act == "rewrite":
                run.rewrite(*told)
            elif act == "forget" and len(run.store.index.number):
                run.store.enforce_quota(max_steps=told[0])
            elif act == "save":
                run.save()
            elif act == "restart":
                saved = run.restored(*run.save())
                require_same(run.sampler, saved.sampler)
                run.sampler, run.saved, run.store = saved.sampler, saved, saved.store


def cut(episode, at):
    """Two pieces of an episode, which goes on behind them."""
    return [piece(episode, 0, at), piece(episode, at, episode.length - 1)]


def piece(episode, begin, end):
    part = {name: array[begin:end] for name, array in episode.columns().items()}
    obs = {name.removeprefix("obs/"): part.pop(name) for name in list(part) if name.startswith("obs/")}
    source = episode.source.model_copy(update={"first_step": begin, "goes_on": True})
    return replace(episode, obs=obs, source=source, **part)


@pytest.fixture
def written(tmp_path, make_spec, make_episode):
    """Makes a replay of so many stored episodes of 20 steps."""

    def make_it(episodes, **options):
        run = Written(tmp_path, make_spec(), **{"capacity_steps": 2000, **options})
        for number in range(episodes):
            run.add(make_episode(run.sampler.spec, number=number, steps=20))
        return run

    return make_it


def rows_in(run, names):
    import safetensors.numpy

    files = (safetensors.numpy.load_file(run.folder / "segments" / name) for name in names)
    return [(sorted(arrays), len(arrays["name"])) for arrays in files]


def test_only_what_has_changed_is_written(written, make_episode):
    run = written(40)
    run.save()
    assert rows_in(run, run.files()) == [(["deter", "name", "stoch"], 800)]  # the store has the rest
    before = run.files()
    run.save()
    assert run.files() == before
    run.add(make_episode(run.sampler.spec, number=40, steps=7), kept=False)
    run.sampler.write_back(np.arange(10)[None], stored(1, 2, rows=(1, 10)))
    run.save()
    new = rows_in(run, run.files() - before)
    assert sorted(rows for _, rows in new) == [7, 10 + 7]
    assert before <= run.files()
    (steps,) = (columns for columns, rows in new if rows == 7)
    assert not {"deter", "stoch"} & set(steps)


def test_an_episode_that_is_half_overwritten_is_the_stores_still(written):
    run = written(120, capacity_steps=1990)
    state = run.save()
    assert not any("reward" in columns for columns, _ in rows_in(run, run.files()))
    require_same(run.sampler, run.restored(*state).sampler)


def test_what_the_store_has_got_meanwhile_is_no_longer_kept(written, make_episode):
    run = written(10)
    episode = make_episode(run.sampler.spec, number=10, steps=12)
    first, last = episode, episode
    run.add(first, kept=False)
    run.save()
    assert any("reward" in columns for columns, _ in rows_in(run, run.files()))
    run.store.append([last])
    stream = int(np.argmax(run.sampler.rings.count))
    run.sampler.places.add(digest(last), stream=stream, steps=12)
    saved = run.restored(*run.save())
    assert not any("reward" in columns for columns, _ in rows_in(run, run.files()))
    require_same(run.sampler, saved.sampler)


def test_what_no_longer_counts_does_not_pile_up(written, monkeypatch):
    monkeypatch.setattr(segments, "_FEW", 10**6)
    run, written_rows = written(60), 0
    for _ in range(100):
        before = run.files()
        run.rewrite(12)
        state = run.save()
        assert sum(rows for _, rows in rows_in(run, run.files())) <= 2 * 1200
        written_rows += sum(rows for _, rows in rows_in(run, run.files() - before))
    # What was touched is some 47 rows each time; cleaning may double that, and writing everything would be 120000.
    assert written_rows < 1200 + 100 * 47 * 2
    require_same(run.sampler, run.restored(*state).sampler)


def test_nor_do_small_files(written, make_episode, monkeypatch):
    monkeypatch.setattr(segments, "_FEW", 8)
    run, written_rows = written(10), 0
    for number in range(60):  # a little is new each time, and nothing is ever rewritten
        before = run.files()
        run.add(make_episode(run.sampler.spec, number=number, steps=5))
        state = run.save()
        assert len(run.files()) <= 8 + 1
        written_rows += sum(rows for _, rows in rows_in(run, run.files() - before))
    assert written_rows < 200 + 60 * (5 + 500 // 8)
    require_same(run.sampler, run.restored(*state).sampler)


def test_what_a_full_disk_has_not_taken_is_written_the_next_time(written, monkeypatch):
    monkeypatch.setattr(segments, "_FILE_BYTES", 8 * 100)
    run, real, files = written(30), segments.atomic_file, []

    def full(path):
        files.append(path)
        if len(files) == 3:
            raise UserError(f"{path}: cannot be written: No space left on device")
        return real(path)

    monkeypatch.setattr(segments, "atomic_file", full)
    with pytest.raises(UserError, match="No space left"):
        run.saved.state_dict()
    assert len(files) == 3
    state = run.save()
    assert len(files) == 3 + 4  # of six
    require_same(run.sampler, run.restored(*state).sampler)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"length": 5}, "length in steps 4, but this run has 5"),
        ({"capacity_steps": 80}, "capacity"),
        ({"stored": (replace(STORED[0], shape=(4,)), STORED[1])}, r"deter .*\(3,\).* but this run has .*\(4,\)"),
        ({"stored": STORED[:1]}, "stoch"),
    ],
)
def test_another_layout_is_refused(written, options, word):
    run = written(3)
    with pytest.raises(UserError, match=f"saved replay: {word}"):
        run.restored(*run.save(), **options)


def test_a_step_that_is_nowhere_is_told(written):
    run = written(3)
    state, version = run.save()
    fewer = {name: array[1:] if name.startswith("placed/") else array for name, array in state.items()}
    with pytest.raises(
        UserError, match=r"replay\.safetensors: 20 steps are neither in a segment nor in a stored episode"
    ):
        run.restored(fewer, version)
