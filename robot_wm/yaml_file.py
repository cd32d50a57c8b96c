"""YAML as every part of the library reads it: plain data of bounded size and depth, nothing taken in two ways.

The dialect is PyYAML's safe one, with numbers as YAML 1.2 has them (https://yaml.org/spec/1.2.2, 10.3.2): ``1e2`` is a
number; ``1:30``, dates and ``010`` (eight to some, ten to others) are text. Underscores in numbers and yes/no/on/off
stay as in YAML 1.1. Refused are what names more than it says (nested aliases, an alias of what it stands in), tags, a
key that stands there twice, and a key that is not text: ``on:`` would name the joint True.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode

from robot_wm.errors import UserError

MAX_BYTES = 2**18  # ours have up to 10 kB; PyYAML takes some seconds for this many
MAX_DEPTH = 32
MAX_NODES = 50_000  # with every alias as what it stands for
_TAG = "tag:yaml.org,2002:"
_HALF_PAIR = re.compile("[\ud800-\udfff]")  # text that no file, path or message can hold
_MAX_DIGITS = 400  # of a whole number; the largest float has 309


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; UserError naming the file, and the line, for one that cannot be used."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content[:MAX_BYTES].decode() if len(content) > MAX_BYTES else content.decode()
    except OSError as error:
        raise UserError(f"{path}: cannot read it: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES} bytes; no settings are")
    return parse_yaml(text.removeprefix("\ufeff"), origin=str(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """The content of a YAML file of settings, whose keys are their names; an empty file has none."""
    body = read_yaml(path)
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise UserError(f"{path}: a mapping of keys to values is needed, got {str(body)[:80]!r}")
    return body


def parse_yaml(text: str, *, origin: str) -> Any:
    """YAML text as dicts, lists, str, int, float, bool and None; UserError naming ``origin`` and the line."""
    if len(text) > MAX_BYTES:
        raise UserError(f"{origin}: longer than {MAX_BYTES} characters; no settings are")
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise UserError(f"{origin}: {_told(error)}") from None
    except (ValueError, OverflowError):  # PyYAML asks Python for the character of "\U00110000"
        raise UserError(f"{origin}: not YAML: an escape in quotes that is no character") from None


def write_yaml(body: Any) -> str:
    """Plain data as YAML text, from which ``parse_yaml`` makes the same."""
    text: str = yaml.dump(body, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def _told(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if isinstance(error, _RefusedError):
        return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)
    if mark is not None and problem:
        return f"line {mark.line + 1}, column {mark.column + 1}: not YAML: {problem}"
    return f"not YAML: {' '.join(str(error).split())}"


class _RefusedError(ComposerError):
    """Valid YAML that is not read here."""

    def __init__(self, problem: str, node_or_event: Any) -> None:
        super().__init__(None, None, problem, node_or_event.start_mark)


class _Loader(yaml.SafeLoader):
    """Counts while it composes: nothing is built before the whole is known to be small."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as its base has it; filled below, none inherited

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0
        self._sizes: dict[int, int] = {}  # finished nodes by id, with what their aliases stand for

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()
        if self._depth >= MAX_DEPTH:
            raise _RefusedError(f"nested more than {MAX_DEPTH} deep", event)
        if getattr(event, "tag", None) not in (None, f"{_TAG}str"):
            raise _RefusedError(f"tag {event.tag} is not read here; only plain values are", event)
        before, is_alias = self._nodes, isinstance(event, yaml.AliasEvent)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise _RefusedError(f"*{event.anchor} stands inside of what it stands for", event)
        self._nodes += self._sizes[id(node)] if is_alias else 1
        self._sizes.setdefault(id(node), self._nodes - before)
        if isinstance(node, ScalarNode) and _HALF_PAIR.search(node.value):
            raise _RefusedError("an escape in quotes that is half of a character", event)
        if self._nodes > MAX_NODES:
            raise _RefusedError(f"more than {MAX_NODES} values, aliases counted as what they stand for", event)
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == f"{_TAG}merge":
                continue
            if not isinstance(key, ScalarNode) or key.tag != f"{_TAG}str":
                value = key.value if isinstance(key, ScalarNode) else "(a list or a mapping)"
                raise _RefusedError(f"key {value[:80]} is not text; quote it if it is a name", key)
            if key.value in seen:  # YAML keeps the last, silently, and with it a joint's wrong limits
                raise _RefusedError(f"key {key.value[:80]} stands there twice", key)
            seen.add(key.value)
        return node

    def whole_number(self, node: ScalarNode) -> int:
        digits = node.value.replace("_", "")
        if len(digits) > _MAX_DIGITS:
            raise _RefusedError(f"a number of {len(digits)} digits", node)
        for prefix, base in (("0x", 16), ("0o", 8)):
            if digits.startswith(prefix):
                return int(digits[2:], base)
        return int(digits)

    def real_number(self, node: ScalarNode) -> float:
        return float(node.value.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.SafeDumper):
    """Quotes what ``_Loader`` would not read as text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as its base has it; filled below, none inherited


_WHOLE = r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+|0o[0-7]+"
_EXPONENT = r"[eE][-+]?[0-9]+"
_REAL = (
    rf"[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*\.[0-9_]*)(?:{_EXPONENT})?|[-+]?[0-9][0-9_]*{_EXPONENT}"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_BOOL = "|".join(f"{word}|{word.title()}|{word.upper()}" for word in ("yes", "no", "true", "false", "on", "off"))
for _name, _pattern, _first in (
    ("bool", _BOOL, "yYnNtTfFoO"),
    ("int", _WHOLE, "-+0123456789"),
    ("float", _REAL, "-+.0123456789"),
    ("merge", "<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    for _dialect in (_Loader, _Dumper):
        _dialect.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_pattern})\Z"), list(_first))
_Loader.add_constructor(f"{_TAG}int", _Loader.whole_number)
_Loader.add_constructor(f"{_TAG}float", _Loader.real_number)
