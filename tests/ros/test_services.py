"""Answers that get lost, over real DDS: what is asked again, what never is, and what has been carried out by then."""

import threading
import time

import pytest
import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import SetBool

from robot_wm.errors import UserError
from robot_wm_ros.hil.lifecycle import LifecycleClient
from robot_wm_ros.hil.services import AGAIN_S, Services

UNCONFIGURED, INACTIVE = State.PRIMARY_STATE_UNCONFIGURED, State.PRIMARY_STATE_INACTIVE
ACTIVE, CONFIGURING = State.PRIMARY_STATE_ACTIVE, State.TRANSITION_STATE_CONFIGURING
CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
GOES = {CONFIGURE: (UNCONFIGURED, INACTIVE), ACTIVATE: (INACTIVE, ACTIVE)}  # transition: from where, to where
ALL = 10**9


class FakeAgent:
    """A lifecycle node with planted faults."""

    def __init__(self, context, executor):
        self.node = Node("agent", context=context)
        self.state = UNCONFIGURED
        self.lost = dict.fromkeys(("get_state", "change_state", "enable"), 0)  # so many answers go nowhere
        self.deaf = 0  # to so many requests for a transition
        self.fails = False  # every transition, after its time
        self.transition_s = 0.0
        self.attempts = []  # transitions begun
        self.disturbed = []  # transitions asked for during another
        self.enabled = []
        self.enable_s = 0.0
        for kind, name, serve in (
            (GetState, "get_state", self._on_get_state),
            (ChangeState, "change_state", self._on_change_state),
            (SetBool, "enable", self._on_enable),
        ):
            self._lose(name, self.node.create_service(kind, f"~/{name}", serve))
        self._executor = executor
        executor.add_node(self.node)
        self._thread = threading.Thread(target=executor.spin)
        self._thread.start()

    def _lose(self, name, service):
        send = service.send_response

        def send_or_lose(response, header):
            if self.lost[name] > 0:
                self.lost[name] -= 1
            else:
                send(response, header)

        service.send_response = send_or_lose

    def _on_get_state(self, _, response):
        response.current_state.id = self.state
        return response

    def _on_change_state(self, request, response):
        begins, ends = GOES[request.transition.id]
        if self.deaf > 0:
            self.deaf -= 1
        elif self.state == CONFIGURING:
            self.disturbed.append(request.transition.id)
        elif self.state == begins:
            self.attempts.append(request.transition.id)
            self.state = CONFIGURING
            time.sleep(self.transition_s)
            self.state = begins if self.fails else ends
            response.success = not self.fails
        return response

    def _on_enable(self, request, response):
        time.sleep(self.enable_s)
        self.enabled.append(request.data)
        response.success, response.message = True, str(len(self.enabled))
        return response

    def close(self):
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()


@pytest.fixture
def context(domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    rclpy.shutdown(context=context)


@pytest.fixture
def make_agent(context):
    """``make_agent()`` answers one request at a time, as the real one does; with ``threads`` several."""
    made = []

    def make(threads=1):
        executor = SingleThreadedExecutor if threads == 1 else lambda **k: MultiThreadedExecutor(threads, **k)
        made.append(FakeAgent(context, executor(context=context)))
        return made[-1]

    yield make
    for agent in made:
        agent.close()


@pytest.fixture
def services(context):
    node = Node("operator", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def wait(until, what):
        end_s = time.monotonic() + wait.patience_s
        while not until():
            if time.monotonic() > end_s:
                raise UserError(f"waited for {what}")
            executor.spin_once(timeout_sec=0.05)

    wait.patience_s = 30.0
    services = Services(node, wait)
    services.wait = wait
    yield services
    services.close()
    executor.shutdown()
    node.destroy_node()


@pytest.fixture
def client(services):
    return LifecycleClient(services, "agent")


def test_a_state_is_asked_for_until_it_is_told(make_agent, client):
    make_agent().lost["get_state"] = 2
    assert client.state().id == UNCONFIGURED


def test_transitions_whose_answers_are_all_lost_are_carried_out_once(make_agent, client):
    agent = make_agent()
    agent.lost["change_state"] = ALL
    client.bring_up()
    assert (agent.state, agent.attempts) == (ACTIVE, [CONFIGURE, ACTIVATE])


def test_the_first_answer_of_every_service_may_be_lost(make_agent, client):
    agent = make_agent()
    agent.lost = dict.fromkeys(agent.lost, 1)
    client.bring_up()
    assert client.enable().success
    assert (agent.state, agent.attempts) == (ACTIVE, [CONFIGURE, ACTIVATE])


def test_a_transition_that_nobody_carried_out_is_asked_for_again(make_agent, client):
    agent = make_agent()
    agent.lost["change_state"] = agent.deaf = 1
    assert client.change_state(CONFIGURE)
    assert (agent.state, agent.attempts) == (INACTIVE, [CONFIGURE])


def test_a_refusal_is_told_at_once(make_agent, client):
    agent = make_agent()
    agent.deaf = 1
    with pytest.raises(UserError, match="agent: configure failed"):
        client.bring_up()
    assert (agent.state, agent.attempts) == (UNCONFIGURED, [])


def test_a_transition_under_way_is_waited_for(make_agent, client):
    agent = make_agent(threads=3)  # tells its state meanwhile
    agent.lost["change_state"], agent.transition_s = ALL, 3.5 * AGAIN_S
    assert client.change_state(CONFIGURE)
    assert (agent.state, agent.attempts, agent.disturbed) == (INACTIVE, [CONFIGURE], [])


def test_a_state_is_told_once_a_transition_is_over(make_agent, client):
    agent = make_agent()
    agent.state = CONFIGURING
    timer = threading.Timer(0.5 * AGAIN_S, setattr, (agent, "state", INACTIVE))
    timer.start()
    assert client.state().id == INACTIVE
    timer.join()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_long_transition_that_fails_is_tried_once(make_agent, client, threads):
    agent = make_agent(threads)
    agent.fails, agent.transition_s = True, 2.5 * AGAIN_S
    assert not client.change_state(CONFIGURE)
    assert (agent.state, agent.attempts, agent.disturbed) == (UNCONFIGURED, [CONFIGURE], [])


def test_a_failure_whose_answer_is_lost_is_told_by_the_next(make_agent, client):
    agent = make_agent()
    agent.fails, agent.lost["change_state"] = True, 1
    assert not client.change_state(CONFIGURE)
    assert (agent.state, agent.attempts) == (UNCONFIGURED, [CONFIGURE, CONFIGURE])


def test_a_second_request_that_came_too_late_is_no_failure(make_agent, client):
    agent = make_agent()
    answers = iter([UNCONFIGURED])  # a look that is older than what it is taken to be about
    serve = agent._on_get_state

    def stale(request, response):
        serve(request, response)
        response.current_state.id = next(answers, agent.state)
        return response

    agent.node.destroy_service(next(s for s in agent.node.services if s.srv_name.endswith("get_state")))
    agent.node.create_service(GetState, "~/get_state", stale)
    agent.lost["change_state"] = 1
    assert client.change_state(CONFIGURE)
    assert (agent.state, agent.attempts) == (INACTIVE, [CONFIGURE])


def test_who_never_answers_is_waited_for_as_long_as_one_wait_takes(make_agent, client, services):
    agent = make_agent()
    client.state()
    agent.lost = dict.fromkeys(agent.lost, ALL)
    services.wait.patience_s = 2.5 * AGAIN_S
    begin_s = time.monotonic()
    with pytest.raises(UserError, match="waited for an answer of agent/change_state"):
        client.change_state(CONFIGURE)
    assert time.monotonic() - begin_s < 2 * services.wait.patience_s + 5.0  # for the service, for its answer, and noise


def test_a_slow_server_has_no_request_left_when_the_call_returns(make_agent, client):
    agent = make_agent()
    agent.enable_s = 1.5 * AGAIN_S
    answer = client.enable()
    told = int(answer.message)
    assert told > 1  # it was asked again
    client.state()  # which the server reaches after what it had to do
    time.sleep(2 * agent.enable_s)
    assert len(agent.enabled) == told
