"""The ROS 2 package `robot_wm`. Its Python module is robot_wm_ros: a second `robot_wm` would shadow the library."""

from glob import glob

from setuptools import setup

PACKAGE = "robot_wm"

setup(
    # The distribution's name differs from the library's (robot-wm), so that pip keeps the two apart.
    name="robot_wm_ros",
    version="0.1.0",
    packages=["robot_wm_ros", "robot_wm_ros.hil"],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", sorted(glob("launch/*.launch.py"))),
        (f"share/{PACKAGE}/config", sorted(glob("config/*.yaml"))),
        # Plain `pip install .` ignores install_scripts, and launch then finds no executable.
        (f"lib/{PACKAGE}", sorted(glob("scripts/*"))),
    ],
    install_requires=["setuptools>=59.6", "robot-wm>=0.1"],
    zip_safe=True,
    description="Runs a learned world-model agent on a robot",
    license="Apache-2.0",
    entry_points={
        # `robot-wm` finds its commands by entry point; it imports no ROS.
        "robot_wm.commands": ["hil = robot_wm_ros.hil.command:hil"],
        "robot_wm.benchmarks": ["soak = robot_wm_ros.hil.soak:bench_soak"],
        # Messages that fill observation fields, and those that commands can be.
        "robot_wm.bindings": [
            "array = robot_wm_ros.array_binding:ArrayBinding",
            "float64_multi_array = robot_wm_ros.command_message:ArrayCommand",
            "image = robot_wm_ros.image_binding:ImageBinding",
            "imu = robot_wm_ros.imu_binding:ImuBinding",
            "joint_states = robot_wm_ros.joint_state_binding:JointStateBinding",
            "joint_trajectory = robot_wm_ros.command_message:TrajectoryCommand",
            "odometry = robot_wm_ros.component_binding:OdometryBinding",
            "pose = robot_wm_ros.component_binding:PoseBinding",
            "twist_stamped = robot_wm_ros.command_message:TwistCommand",
            "velocity = robot_wm_ros.command_velocity:VelocityBinding",
        ],
    },
)
