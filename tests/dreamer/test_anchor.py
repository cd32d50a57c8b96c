"""A policy that is held near to the one that learning began with."""

import torch
from test_pessimism import Doubtful


def moved(workshop, anchor, updates=60):
    """How far the policy has gone, nats, and the learner; actions below zero cost something, so that there is where."""
    learner = workshop.learner(anchor=anchor, learning_rate=3e-3)
    learner._pessimism = Doubtful(1.0, lambda action: (action[..., 0] < 0).float())
    for seed in range(updates):
        metrics = learner.update(workshop.batch(learner, seed=seed)).metrics
    return float(metrics["policy/distance"]), learner


def test_the_dearer_the_distance_the_shorter_it_is(workshop):
    (free, _), (dear, _) = moved(workshop, 1e-9), moved(workshop, 10.0)
    assert free > 0.05
    assert dear < 0.2 * free


def test_the_first_update_is_at_no_distance_and_is_the_same_with_and_without(workshop):
    held, free = workshop.learner(anchor=5.0, actor_scale=1.0), workshop.learner(actor_scale=1.0)
    batch = workshop.batch(held)
    noise = free.draw_noise(batch)
    assert held.update(batch, noise).metrics["policy/distance"] == 0
    free.update(batch, noise)
    for (name, one), (_, two) in zip(held.agent.named_parameters(), free.agent.named_parameters(), strict=True):
        torch.testing.assert_close(one, two, msg=name)


def test_a_resumed_learner_knows_where_the_first_one_began(workshop):
    _, straight = moved(workshop, 0.1, updates=3)
    late = workshop.learner(anchor=0.1, learning_rate=3e-3, seed=4)
    late._pessimism = straight._pessimism
    late.load_state_dict(straight.state_dict())
    batch = workshop.batch(straight, seed=9)
    one, two = straight.update(batch).metrics, late.update(batch).metrics
    assert one["policy/distance"] > 0
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_without_a_weight_nothing_is_kept(workshop):
    learner = workshop.learner()
    metrics = learner.update(workshop.batch(learner)).metrics
    assert not [name for name in (*metrics, *learner.state_dict()) if "distance" in name or "first_actor" in name]
