"""Messages leave the queue as they came, in order and numbered by topic, and never take more room than was given."""

from __future__ import annotations

from robot_wm.runtime.message_queue import MessageQueue
from robot_wm.runtime.tick_log import Topic

IMAGE, TEXT = Topic("/camera", "sensor_msgs/msg/Image", ""), Topic("/notes", "std_msgs/msg/String", "")


def test_the_oldest_comes_first_with_its_topics_place_its_time_and_its_number():
    queue = MessageQueue(100, first_topic=3)
    image, text = queue.add_topic(IMAGE), queue.add_topic(TEXT)
    assert queue.topics == [IMAGE, TEXT]
    for key, message, at in ((image, b"a", 7), (text, b"b", 8), (image, b"", 9)):
        assert queue.put(key, message, at) is True
    taken = [queue.take() for _ in range(4)]
    assert taken == [(3, b"a", 7, 0), (4, b"b", 8, 0), (3, b"", 9, 1), None]


def test_what_finds_no_room_is_counted_and_has_no_number_and_what_is_taken_makes_room():
    queue = MessageQueue(10, first_topic=0)
    key = queue.add_topic(IMAGE)
    assert [queue.put(key, bytes(size), size) for size in (11, 4, 6, 1, 0)] == [False, True, True, False, True]
    assert queue.dropped == 2
    assert queue.take() == (0, bytes(4), 4, 0)
    assert [queue.put(key, bytes(size), size) for size in (5, 4)] == [False, True]
    assert queue.dropped == 3
    assert [queue.take()[3] for _ in range(3)] == [1, 2, 3]
    for _ in range(9):  # what was taken long ago takes no room either
        assert queue.put(key, bytes(10), 0)
        assert queue.take() is not None
