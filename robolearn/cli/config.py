"""Show the resolved configuration of an experiment, or what its entries mean.

robolearn config a1_velocity_flat ppo.learning_rate=1e-3
robolearn config velocity_flat --robot go2
robolearn config a1_velocity_flat --explain ppo
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

from robolearn.config import ConfigError, config_hash, dump_yaml, to_dict, unknown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("experiment", metavar="EXPERIMENT|TASK|RUN", help="see robolearn list; a run folder works too")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="entries to change")
    parser.add_argument("--robot", metavar="R", help="robot to use: a name, or the path of its YAML")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of everything that is drawn")
    parser.add_argument(
        "--explain", nargs="?", const="", metavar="SECTION", help="say what each entry (of one section) means"
    )


def run(args: argparse.Namespace) -> int:
    """Print the configuration."""
    from pathlib import Path

    from robolearn.experiment import compose, make_env
    from robolearn.run_folder import CONFIG

    source = args.experiment
    if (Path(source) / CONFIG).is_file():
        source = str(Path(source) / CONFIG)
    overrides = [*args.overrides, *([f"seed={args.seed}"] if args.seed is not None else [])]
    config = compose(source, args.robot, overrides)
    if args.explain is not None:
        for line in explain(config, args.explain):
            print(line)
        return 0
    make_env(
        dataclasses.replace(config, env=dataclasses.replace(config.env, engine="mujoco", device="cpu")), num_envs=1
    )
    print(dump_yaml(config), end="")
    print(f"# hash {config_hash(config)}")
    return 0


def field_docs(cls: type) -> dict[str, str]:
    """Return the description of each field, as written under ``Attributes:`` in the docstring of a dataclass."""
    text = inspect.getdoc(cls) or ""
    section = text.partition("Attributes:\n")[2]
    docs: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        entry = re.match(r"    (\w[\w, ]*): (.*)", line)
        if entry:
            names = [name.strip() for name in entry[1].split(",")]
            docs |= dict.fromkeys(names, entry[2])
        elif line.startswith("      ") and names:
            docs |= {name: f"{docs[name]} {line.strip()}" for name in names}
        elif line.strip():
            break
    return docs


def explain(config: Any, section: str = "", place: str = "") -> Iterator[str]:
    """Yield one line per entry: its place, present value and meaning.

    Raises:
        ConfigError: there is no such section.
    """
    for part in section.split(".") if section else ():
        options = (
            [f.name for f in dataclasses.fields(config)] if dataclasses.is_dataclass(config) else list(config or ())
        )
        if part not in options:
            raise unknown("section", part, options, place)
        config = getattr(config, part) if dataclasses.is_dataclass(config) else config[part]
        place = f"{place}.{part}" if place else part
    if not dataclasses.is_dataclass(config):
        if not isinstance(config, dict):
            raise ConfigError(f"{place}: is a single value ({to_dict(config)!r}), not a section")
        entries, docs = config, {}
    else:
        entries = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        docs = field_docs(typing.cast(type, type(config)))
    for name, value in entries.items():
        where = f"{place}.{name}" if place else name
        meaning = f"  # {docs[name]}" if name in docs else ""
        inner = value.values() if isinstance(value, dict) and value else [value]
        if all(dataclasses.is_dataclass(item) for item in inner):
            yield f"{where}:{meaning}"
            yield from explain(value, "", where)
        else:
            yield f"{where} = {_inline(value)}{meaning}"


def _inline(value: Any) -> str:
    text = str(to_dict(value))
    return text if len(text) <= 60 else f"{text[:57]}..."
