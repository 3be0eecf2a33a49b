"""The words of a task file as Markdown tables, read from the code: ``python -m sim.tasks.reference``.

``docs/tasks.md`` holds this text; a test compares them.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from sim.actuators import ActuatorConfig
from sim.commands import VelocityCommandConfig
from sim.disturbances import ForceConfig, PushConfig
from sim.gait import GaitConfig
from sim.observation import TERMS, GroupConfig, SensorConfig, TermConfig
from sim.randomization import randomization
from sim.registry import Registry
from sim.scene import PhysicsConfig
from sim.settings import SettingConfig
from sim.tasks.config import ActionConfig, TaskConfig
from sim.tasks.terms import cost, reward, termination
from sim.terrain import TerrainConfig

SECTIONS: Mapping[str, type] = {
    "": TaskConfig,
    "physics": PhysicsConfig,
    "actuators": ActuatorConfig,
    "actions": ActionConfig,
    "sensors": SensorConfig,
    "commands": VelocityCommandConfig,
    "observations.GROUP": GroupConfig,
    "observations.GROUP.terms.TERM": TermConfig,
    "gait": GaitConfig,
    "settings.SETTING": SettingConfig,
    "disturbances.push": PushConfig,
    "disturbances.force": ForceConfig,
    "terrain": TerrainConfig,
}
"""Entries of a task file and the dataclasses behind them."""
SECTION_NAMES = {name.partition(".")[0] for name in SECTIONS}


def key_tables() -> str:
    """Return a table of keys, defaults and meanings for every section of a task file."""
    return "\n\n".join(
        f"### {f'`{name}`' if name else 'Top level'}\n\n{_table(('key', 'default', 'meaning'), _keys(config))}"
        for name, config in SECTIONS.items()
    )


def term_tables() -> str:
    """Return a table of the terms of each kind that come with the project."""
    parts = []
    for registry in (reward, cost, termination, randomization):
        ours = (name for name in registry if registry.get(name).__module__.startswith("sim."))
        rows = ((f"`{name}`", _parameters(registry, name), registry.summary(name)) for name in ours)
        parts.append(f"### {registry.kind.capitalize()} terms\n\n{_table(('term', 'parameters', 'meaning'), rows)}")
    observations = ((f"`{name}`", term.unit, f"`{term.signal}`") for name, term in TERMS.items())
    parts.append(f"### Observation terms\n\n{_table(('term', 'unit', 'raw signal'), observations)}")
    return "\n\n".join(parts)


def _keys(config: type) -> Iterable[tuple[str, str, str]]:
    meanings = attribute_docs(config)
    for field in dataclasses.fields(config):
        meaning = "its own section, below" if field.name in SECTION_NAMES else meanings[field.name]
        yield f"`{field.name}`", _default(field), meaning


def attribute_docs(config: type) -> dict[str, str]:
    """Return the meaning of each attribute from the ``Attributes:`` section of a class's docstring."""
    section = (inspect.getdoc(config) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w[\w, ]*): (.*(?:\n     +.*)*)", section, re.MULTILINE)
    return {name.strip(): " ".join(text.split()).rstrip(".") for names, text in entries for name in names.split(",")}


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
        return "" if dataclasses.is_dataclass(value) else f"`{_yaml(value)}`"
    return "required" if field.default is dataclasses.MISSING else f"`{_yaml(field.default)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def _parameters(registry: Registry[Any], name: str) -> str:
    term = registry.get(name)
    hints = typing.get_type_hints(term)
    shown = []
    for parameter in inspect.signature(term).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            kind = "[low, high]" if typing.get_origin(hints[parameter.name]) is tuple else "number"
            required = parameter.default is inspect.Parameter.empty
            shown.append(f"`{parameter.name}: {kind if required else _yaml(parameter.default)}`")
    return ", ".join(shown)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("``", "`") for cell in line) + " |" for line in lines
    )


if __name__ == "__main__":
    print(f"{key_tables()}\n\n{term_tables()}")
