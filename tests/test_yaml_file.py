"""Every YAML file goes through one reader: bounded, plain, and nothing taken in two ways."""

import ast
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import robot_wm
from robot_wm.errors import UserError
from robot_wm.yaml_file import MAX_BYTES, MAX_DEPTH, MAX_NODES, parse_yaml, read_mapping, read_yaml, write_yaml

ROOT = Path(robot_wm.__file__).parents[1]
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 9))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=12)
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (BOMB, "line 5: more than 50000 values"),
        (MERGES, "line 6: more than 50000 values"),
        ("a: &a {b: *a}", "line 1: \\*a stands inside of what it stands for"),
        ("x:\n- &a [[*a]]", "line 2: \\*a stands inside of what it stands for"),
        ("[" * 5000, "line 1: nested more than 32 deep"),
        ("- " * 5000, "line 1: nested more than 32 deep"),
        ("{a: " * 5000, "line 1: nested more than 32 deep"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4: key c stands there twice"),
        ("on: 1", "line 1: key on is not text"),
        ('a: "\\U00110000"', "an escape in quotes that is no character"),
        ('a: "\\Uffffffff"', "an escape in quotes that is no character"),
        ('a: 1\nb: "\\ud800"', "line 2: an escape in quotes that is half of a character"),
        ('"\\udfff": 1', "line 1: an escape in quotes that is half of a character"),
        ("1: a", "line 1: key 1 is not text"),
        ("? [a]\n: b", "line 1: key .* is not text"),
        ("a: !!python/object/apply:os.system [x]", "line 1: tag .*os.system is not read here"),
        ("a: !!timestamp x", "line 1: tag .*timestamp is not read here"),
        ("1" * 5000, "line 1: a number of 5000 digits"),
        ("a: [1", "line 1, column 6: not YAML"),
        ("a: \x00", "not YAML"),
        ("a\n---\nb", "not YAML"),
        ("#" * (MAX_BYTES + 1), "longer than"),
    ],
)
def test_what_cannot_be_read_is_one_line(text, wanted):
    with pytest.raises(UserError, match=f"^f: .*{wanted}") as caught:
        parse_yaml(text, origin="f")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e2", 100.0),
        ("1E-3", 0.001),
        ("-.5", -0.5),
        ("1.", 1.0),
        (".inf", float("inf")),
        ("-7", -7),
        ("010", "010"),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", 1000),
        ("true", True),
        ("Off", False),
        ("~", None),
        ("", None),
        ("'1e2'", "1e2"),
        ("!!str 1e2", "1e2"),
        ("1:30", "1:30"),
        ("2020-13-45", "2020-13-45"),
        ("0.5,0,0", "0.5,0,0"),
        ("=", "="),
        ("1e", "1e"),
    ],
)
def test_scalars_are_what_yaml_1_2_says(text, value):
    read = parse_yaml(text, origin="f")
    assert read == value
    assert type(read) is type(value)


def test_anchors_and_merges_of_a_sensible_size_work():
    text = "leg: &leg {kp: 20, kd: 0.5}\nFL: *leg\nFR: {<<: *leg, kp: 30}\n"
    assert parse_yaml(text, origin="f") == {
        "leg": {"kp": 20, "kd": 0.5},
        "FL": {"kp": 20, "kd": 0.5},
        "FR": {"kp": 30, "kd": 0.5},
    }


def test_bounds_are_reached_before_they_refuse():
    deep = "[" * (MAX_DEPTH - 1) + "1" + "]" * (MAX_DEPTH - 1)
    assert parse_yaml(deep, origin="f") is not None
    with pytest.raises(UserError, match="nested"):
        parse_yaml(f"[{deep}]", origin="f")
    row = "a: &a [" + "1, " * 99 + "1]\n"  # the mapping and its keys, and 101 values an alias
    whole = (MAX_NODES - 103) // 102
    assert len(parse_yaml(row + "".join(f"k{n}: *a\n" for n in range(whole)), origin="f")) == whole + 1
    with pytest.raises(UserError, match="more than"):
        parse_yaml(row + "".join(f"k{n}: *a\n" for n in range(whole + 1)), origin="f")


@given(
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
        max_leaves=12,
    )
)
def test_what_was_written_is_read_again(value):
    assert parse_yaml(write_yaml(value), origin="f") == value


@pytest.mark.parametrize("text", ["1e2", "0483", "yes", "~", "", "1:30", "0x1f", ".5", "<<", "2020-01-01", "1_0"])
def test_text_that_looks_like_something_else_stays_text(text):
    assert parse_yaml(write_yaml({"a": text}), origin="f") == {"a": text}


@given(st.text("[]{}&*:,-?!<>|'\"#% \n\tab1.e", max_size=60))
def test_no_text_raises_anything_else(text):
    try:
        parse_yaml(text, origin="f")
    except UserError as error:
        assert str(error).startswith("f: ")  # noqa: PT017 - most texts are no error at all


def test_files_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "a.yaml"
    with pytest.raises(UserError, match=r"a\.yaml: cannot read it: No such file"):
        read_yaml(path)
    with pytest.raises(UserError, match="cannot read it: Is a directory"):
        read_yaml(tmp_path)
    path.write_bytes(b"a: \xff")
    with pytest.raises(UserError, match=r"a\.yaml: not UTF-8 text: .* at byte 3"):
        read_yaml(path)
    path.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_yaml(path) == {"a": 1}
    path.write_text("- a")
    with pytest.raises(UserError, match=r"a\.yaml: a mapping of keys to values is needed"):
        read_mapping(path)
    path.write_text("# nothing yet\n")
    assert read_mapping(path) == {}


def test_an_endless_file_ends():
    with pytest.raises(UserError, match="larger than"):
        read_yaml(Path("/dev/zero"))


def test_nothing_reads_yaml_but_this():
    """PyYAML has no bounds of its own: a second way in would be a way past them."""
    readers = {"load", "load_all", "safe_load", "safe_load_all", "full_load", "compose", "parse", "Yaml"}
    sources = [path for room in ("robot_wm", "sim", "export", "ros2_ws/src") for path in (ROOT / room).rglob("*.py")]
    assert len(sources) > 100
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources
        if path.name != "yaml_file.py" and "test" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in readers
        and ast.unparse(node.value) in ("yaml", "cyclopts.config", "config")
    ]
    assert found == []


def test_every_file_that_ships_is_read_as_before():
    shipped = [path for room in ("robot_wm", "firmware_configs") for path in (ROOT / room).rglob("*.yaml")]
    assert len(shipped) > 20
    for path in shipped:
        assert read_yaml(path) == yaml.safe_load(path.read_text()), path
