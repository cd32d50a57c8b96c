"""Where things are on the robot's computer, for every rendered file that names another."""

from __future__ import annotations

CONFIG = "/etc/robot_wm"
LIBRARY = "/usr/local/lib/robot_wm"
STATE = "/var/lib/robot_wm"

AGENT_PARAMETERS = f"{CONFIG}/agent.yaml"
CONTROLLERS = f"{CONFIG}/controllers.yaml"
PUBLIC_KEY = f"{CONFIG}/robot.pub.pem"  # whose private half signs what the robot may run
ROBOT_CONFIG = f"{CONFIG}/robot.yaml"
FASTDDS_PROFILES = f"{CONFIG}/fastdds.xml"
CYCLONEDDS_CONFIG = f"{CONFIG}/cyclonedds.xml"
START_AGENT = f"{LIBRARY}/start-agent"
START_GUARDIAN = f"{LIBRARY}/start-guardian"
START_BOARD = f"{LIBRARY}/start-board"
ROBOT_WM = "/opt/robot_wm/venv/bin/robot-wm"  # as README installs it
USER = "robot_wm"  # who runs the agent, and owns STATE
BUNDLE = f"{STATE}/bundles/current"  # link that `robot-wm bundle install` moves
AGENT_UNIT = "robot-wm-agent.service"
GUARDIAN_UNIT = "robot-wm-guardian.service"
BOARD_UNIT = "robot-wm-board.service"
