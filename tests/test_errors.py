"""A message is one line that a terminal can show, whatever it quotes."""

from robot_wm.errors import UserError


def test_line_ends_codes_and_length_are_tamed():
    assert str(UserError("a.json: größer\nals\t5 µs")) == "a.json: größer als 5 µs"
    assert str(UserError("\x1b[2J\x00\u202e")) == "\\x1b[2J\\x00\\u202e"
    assert len(str(UserError("x" * 10**6))) < 5000
