"""From a log of joints in the air to what the joints are, how sure that is, and whether it tells what they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.identification.joint_log import JointLog, Stretch
from robot_wm_sim.identification.parameters import Parameter, Parameters
from robot_wm_sim.identification.player import Setting, Told, player
from robot_wm_sim.identification.processes import working
from robot_wm_sim.identification.residual import Units
from robot_wm_sim.identification.rig import in_the_air
from robot_wm_sim.identification.search import Fit, Search
from robot_wm_sim.scene import Scene

Float64 = NDArray[np.float64]
# A joint's error of position on what was held out, rms: more than this share of its motion's rms, and more than so many
# standard deviations of its sensor, is a joint that the simulator does not have.
LARGEST_SHARE = 0.1
LARGEST_NOISES = 3.0
INFORMED = 0.15  # of the way between a parameter's bounds: a standard deviation above it tells nothing
LEARNED = 0.75  # of the deviation that a parameter had before: what is hardly less was not learned from the log
AT_BOUND = 1e-3  # of that way: where an estimate lies at a bound


@dataclass(frozen=True)
class Estimate:
    """One parameter, SI."""

    parameter: Parameter
    value: float
    deviation: float  # standard deviation; inf where the log tells nothing

    @property
    def is_informed(self) -> bool:
        """Whether the log tells anything of it."""
        width = self.parameter.high - self.parameter.low
        return self.deviation <= min(INFORMED * width, LEARNED * self.parameter.known)

    @property
    def is_at_bound(self) -> bool:
        """Whether it would lie beyond what was looked at, where a bound is no end of physics."""
        share = self.parameter.share(self.value)
        return share > 1.0 - AT_BOUND or (share < AT_BOUND and self.parameter.low != 0.0)


@dataclass(frozen=True)
class JointError:
    """How far a joint is from the simulated one on what was held out, rms, rad or m."""

    joint: str
    error: float
    error_before: float  # of the simulator as it was built, with no delay
    motion: float  # about its mean
    noise: float  # of its sensor, as far as the log tells

    @property
    def is_large(self) -> bool:
        """Whether the simulator does not do what the joint does."""
        return self.error > max(LARGEST_SHARE * self.motion, LARGEST_NOISES * self.noise)


@dataclass(frozen=True)
class Identified:
    """All that was found of one robot."""

    backend: str
    log: JointLog
    estimates: tuple[Estimate, ...]
    errors: tuple[JointError, ...]
    held_out: Told  # what the simulator says of each held-out stretch
    before: Told  # what it said before
    fit: Fit

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why nothing should be deployed that learned in such a simulator; empty where it may."""
        large = [
            f"{one.joint}: off by {one.error:.3g} rms on what was held out, {one.error / one.motion:.0%} of its motion"
            f" (at most {LARGEST_SHARE:.0%}, or {LARGEST_NOISES:g} times its noise of {one.noise:.2g})"
            for one in self.errors
            if one.is_large
        ]
        bound = [
            f"{one.parameter.name}: {one.value:.3g} {one.parameter.unit} is the end of what was looked at"
            for one in self.estimates
            if one.is_at_bound and one.is_informed
        ]
        return (*large, *bound)

    def estimate(self, kind: str, joint: str = "") -> Estimate | None:
        """That of a kind, None where the engine does not have it."""
        found = (one for one in self.estimates if (one.parameter.kind, one.parameter.joint) == (kind, joint))
        return next(found, None)


def identify(
    log: JointLog,
    scene: Scene,
    *,
    backend: str,
    processes: int = 2,
    on_step: Callable[[int, float], None] = lambda step, cost: None,
) -> Identified:
    """Fit a scene's robot to a log of it in the air. Raises UserError for joints that are not the robot's own."""
    hung = in_the_air(scene)
    parameters = Parameters(hung.robot, log.joints, backend)
    units = Units.of(log.fit)

    def setting(stretches: tuple[Stretch, ...]) -> Setting:
        return Setting(backend, hung, log.spec, log.joints, stretches)

    with working(player, setting(log.fit), processes) as play:
        fit = Search(parameters, play, log.fit, units).run(on_step)
    built = parameters.as_built()
    with working(player, setting(log.held_out), 1) as play:
        held_out, before = play([parameters.world(fit.share), parameters.world(built)])
    values, deviations = parameters.values(fit.share), fit.deviation * (parameters.high - parameters.low)
    both = zip(parameters.all, values.tolist(), deviations.tolist(), strict=True)
    return Identified(
        backend=backend,
        log=log,
        estimates=tuple(Estimate(*one) for one in both),
        errors=_errors(log, held_out, before),
        held_out=held_out,
        before=before,
        fit=fit,
    )


def _errors(log: JointLog, held_out: Told, before: Told) -> tuple[JointError, ...]:
    noise = Units.noise_of(log.held_out)
    now, then = (_rms(log.held_out, [said[0] for said in told]) for told in (held_out, before))
    means = [np.broadcast_to(one.position[one.counted].mean(axis=0), one.position.shape) for one in log.held_out]
    motion = _rms(log.held_out, means)
    rows = zip(log.joints, now.tolist(), then.tolist(), motion.tolist(), noise.tolist(), strict=True)
    return tuple(JointError(*row) for row in rows)


def _rms(stretches: tuple[Stretch, ...], positions: list[Float64]) -> Float64:
    """Of what differs from the recorded positions where samples count, [N]."""
    pairs = zip(stretches, positions, strict=True)
    error = np.concatenate([(told - one.position)[one.counted] for one, told in pairs])
    rms: Float64 = np.sqrt(np.mean(error**2, axis=0))
    return rms
