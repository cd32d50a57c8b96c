"""The card of a bundle, ``README.md`` in it: what it is, how it was made, what is known of it, and what it is not for.

Markdown with the header of the Hugging Face Hub's model cards. Everything in it is the manifest's, so that the card of
one manifest is one text; what others named (tasks, joints, settings) is shown as it is and never read as markup.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from robot_wm.errors import UserError
from robot_wm.spec import ObservationField

if TYPE_CHECKING:
    import jinja2

    from robot_wm.runtime.manifest import Manifest

_KINDS = {"dreamer": "DreamerV3", "muzero": "MuZero", "plan": "a planned motion, nothing that was learned"}
_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~<>&$:@-])")
_MOST_ROWS = 64  # of joints and elements; the manifest has all


def require_license(name: str) -> str:
    """A license's identifier, such as apache-2.0, as it was given; UserError for what is none by its form."""
    if not _LICENSE.fullmatch(name):
        raise UserError(f"--license: {name!r} is no identifier such as apache-2.0 or cc-by-4.0")
    return name


def model_card(manifest: Manifest) -> str:
    """The text of a bundle's card; of ``manifest.files`` it tells only what was there before it."""
    lineage = manifest.lineage.model_dump(mode="json")
    config = manifest.lineage.config
    settings = config.get(manifest.kind)
    spec = manifest.spec
    return (
        environment()
        .get_template("model_card.md.j2")
        .render(
            header=_header(manifest, lineage),
            manifest=manifest,
            spec=spec,
            kind=_KINDS.get(manifest.kind, manifest.kind),
            size=settings.get("size") if isinstance(settings, Mapping) else None,
            lineage=lineage,
            settings=json.dumps(config, indent=1) if config else "",
            evaluations=_evaluations(manifest),
            fields=[(field, _elements(field)) for field in spec.observations],
            joints=list(zip(spec.action.joints, spec.action.limits or [None] * spec.action_dim, strict=True))[
                :_MOST_ROWS
            ],
            precisions=[(name, result.largest_error, result) for name, result in manifest.parity.results.items()]
            + [(name, entry.result.largest_error, entry.result) for name, entry in manifest.parity.precisions.items()],
            findings=_findings(lineage),
        )
    )


def environment(*templates_of: str) -> jinja2.Environment:
    """What cards are rendered by: the templates of this package, and before them those of others.

    ``card_parts.md.j2`` has what cards of more than one kind show. Filters: ``text`` for words of others amid Markdown,
    ``code`` for such within backticks.
    """
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in (*templates_of, "robot_wm")]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["text"] = lambda words: _MARKUP.sub(r"\\\1", _one_line(words))
    found.filters["code"] = lambda words: f"`{_one_line(words).replace('`', chr(39)).replace('|', chr(0xA6)) or ' '}`"
    return found


def _one_line(words: object) -> str:
    """In one line, without characters that terminals act on."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(words)).split())


def _elements(field: ObservationField) -> str:
    shown = ", ".join(field.labels[:_MOST_ROWS])
    return shown + (", …" if len(field.labels) > _MOST_ROWS else "")


def _evaluations(manifest: Manifest) -> dict[str, Mapping[str, Any]]:
    """The run's own evaluation by its engine, if there was one with all that the table shows."""
    told = manifest.lineage.evaluation or {}
    numbers = ("episodes", "return_mean", "return_std", "length_mean")
    if not all(isinstance(told.get(name), (int, float)) for name in numbers):
        return {}
    figures = told.get("figures")
    kept = {name: value for name, value in figures.items() if _is_number(value)} if isinstance(figures, Mapping) else {}
    optional = {name: told[name] if _is_number(told.get(name)) else None for name in ("success_rate", "falls")}
    return {str(told.get("backend", "?")): {**told, **optional, "figures": kept}}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _findings(lineage: Mapping[str, Any]) -> list[str] | None:
    """What an audit of its imagination found; None where it was not audited."""
    told = lineage.get("reality")
    if not isinstance(told, Mapping) or not told:
        return None
    found = told.get("findings")
    return [str(text) for text in found.values()] if isinstance(found, Mapping) else []


def _header(manifest: Manifest, lineage: Mapping[str, Any]) -> str:
    """YAML that the Hub reads: https://huggingface.co/docs/hub/model-cards."""
    spec = manifest.spec
    learned = (
        [] if manifest.kind == "plan" else ["reinforcement-learning", "deep-reinforcement-learning", "world-model"]
    )
    header: dict[str, Any] = {"license": lineage["license"]} if lineage.get("license") else {}
    header |= {"library_name": "robot_wm", "tags": [*learned, "robotics", "onnx", manifest.kind, spec.task, spec.robot]}
    if learned:
        header["pipeline_tag"] = "reinforcement-learning"
    results = [
        {
            "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
            "dataset": {"type": spec.task, "name": f"{spec.task} in {engine}"},
            "metrics": [
                {
                    "type": "mean_reward",
                    "name": "mean return",
                    "value": f"{told['return_mean']:.1f} +/- {told['return_std']:.1f}",
                    "verified": False,
                }
            ],
        }
        for engine, told in _evaluations(manifest).items()
    ]
    if results:
        header["model-index"] = [{"name": f"{manifest.kind} {spec.task}", "results": results}]
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
