"""std_msgs/Float64MultiArray: a field of no standard message, as bare numbers in the field's order."""

from __future__ import annotations

from std_msgs.msg import Float64MultiArray

from robot_wm_ros.binding import Binding


class ArrayBinding(Binding):
    """The layout is not looked at: a field is a plain vector [O]."""

    message_type = Float64MultiArray

    def copy(self, message: Float64MultiArray) -> str:
        """An array of another length cannot be read."""
        values = message.data
        for field, out in self._targets:
            if len(values) != field.shape[0]:
                return f"{len(values)} values, {field.name} needs {field.shape[0]}"
            out[:] = values
        return ""
