"""An episode's draw in its source: there where there was one, and nowhere mistaken for anything else."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from robot_wm.replay.rows import digest
from robot_wm.replay.store import EpisodeStore

DRAWN = {"payload_kg": 1.25, "friction": 0.1}


def drew(episode, draw):
    source = type(episode.source).model_validate(episode.source.model_dump() | {"randomisation": draw})
    return type(episode)(**vars(episode) | {"source": source})


def test_it_comes_back_with_the_episode_and_tells_episodes_apart(tmp_path, make_spec, make_episode):
    spec = make_spec()
    plain = make_episode(spec)
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        store.append([plain, drew(plain, DRAWN)])
    without, drawn = EpisodeStore.open(tmp_path / "store").episodes()
    assert (without.source.randomisation, drawn.source.randomisation) == (None, DRAWN)
    assert digest(drawn) != digest(without)


@pytest.mark.parametrize("draw", [None, {}])
def test_without_a_draw_an_episode_is_what_it_was_before_there_were_any(make_spec, make_episode, draw):
    episode = make_episode(make_spec())
    assert "randomisation" not in json.loads(drew(episode, draw).source.model_dump_json())
    assert digest(drew(episode, draw)) == digest(episode)


@pytest.mark.parametrize("name", ["first_step", "recording", '","first_step":'])
def test_no_name_of_a_quantity_makes_an_episode_a_piece_or_a_recording(tmp_path, make_spec, make_episode, name):
    spec = make_spec()
    whole = drew(make_episode(spec), {name: 3.0})
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        store.append([whole])
    assert (store.summary()["episodes"], store.summary().get("of_these_later_pieces"), store.places()) == (1, None, {})
    (again,) = EpisodeStore.open(tmp_path / "store").episodes()
    assert again.source == whole.source


@pytest.mark.parametrize("value", [math.nan, math.inf, "heavy"])
def test_what_is_no_number_is_refused(make_spec, make_episode, value):
    with pytest.raises(ValidationError):
        drew(make_episode(make_spec()), {"payload_kg": value})
