"""One end of a ROS 2 conversation, run as a process: `talk` publishes, `listen` says what it heard within a time."""

import sys
import time

import rclpy
from std_msgs.msg import String

TEXT = "hello"


def main(role: str, seconds: float) -> int:
    rclpy.init()
    node = rclpy.create_node(role)
    heard = []
    if role == "talk":
        publisher = node.create_publisher(String, "chatter", 10)
    else:
        node.create_subscription(String, "chatter", lambda message: heard.append(message.data), 10)
    end = time.monotonic() + seconds
    print("ready", flush=True)
    while time.monotonic() < end and not heard:
        if role == "talk":
            publisher.publish(String(data=TEXT))
        rclpy.spin_once(node, timeout_sec=0.05)
    print(f"heard {heard}", flush=True)
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
