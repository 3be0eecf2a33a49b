"""Strict configuration: YAML or mappings to dataclasses, with errors that name the key and the nearest valid one.

Only the standard library and PyYAML are used: every layer (training, simulation, deployment) reads its files here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

T = TypeVar("T")
MAX_FILE_BYTES = 4_000_000


class ConfigError(ValueError):
    """A configuration that cannot be used. The message names the entry, says what is wrong and what would be right."""


def nearest(name: str, options: Iterable[str]) -> str:
    """Return a hint such as ``" Did you mean 'friction'?"``, or the list of options when nothing is close."""
    choices = [str(option) for option in options]
    close = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.55)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Valid: {', '.join(sorted(choices))}." if choices else ""


def unknown(kind: str, name: str, options: Iterable[str], where: str = "") -> ConfigError:
    """Build the error for an unknown name of some kind (``unknown("reward", "trak", [...])``)."""
    place = f"{where}: " if where else ""
    return ConfigError(f"{place}unknown {kind} {name!r}.{nearest(name, options)}")


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe loader that refuses a key given twice: the second would win silently."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise ConfigError(f"line {key_node.start_mark.line + 1}: key {key!r} is given twice")
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Raises:
        ConfigError: the file is missing, larger than 4 MB, not YAML, not a mapping, or names a key twice.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: {size} bytes is too large for a configuration file")
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # a SafeLoader
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if data is None:
        raise ConfigError(f"{path}: the file is empty")
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping at the top, got {type(data).__name__}")
    return data


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``override`` laid over it; ``null`` removes a key; lists are replaced whole."""
    result = dict(base)
    for key, value in override.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merge(result[key], value)
        elif isinstance(value, Mapping):
            result[key] = merge({}, value)
        else:
            result[key] = value
    return result


def parse_override(text: str) -> dict[str, Any]:
    """Turn ``"a.b.c=3"`` into ``{"a": {"b": {"c": 3}}}``; the value is read as YAML.

    Raises:
        ConfigError: no ``=``, an empty key, or a value that is not YAML.
    """
    key, separator, value = text.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"override {text!r}: expected KEY.SUBKEY=VALUE")
    try:
        parsed = yaml.safe_load(value) if value.strip() else None
    except yaml.YAMLError as error:
        raise ConfigError(f"override {text!r}: the value is not valid YAML: {error}") from error
    if isinstance(parsed, str):  # YAML 1.1 reads "1e-3" as a string; people mean the number
        with contextlib.suppress(ValueError):
            parsed = float(parsed)
    for part in reversed(parts):
        parsed = {part: parsed}
    return typing.cast(dict[str, Any], parsed)


def parse_settings(texts: Iterable[str], where: str = "--set") -> dict[str, float]:
    """Turn ``["budget=0.7"]`` into ``{"budget": 0.7}``.

    Raises:
        ConfigError: not a name and a finite number, or a name twice; ``where`` says what was given.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not name.strip() or not math.isfinite(number):
            raise ConfigError(f"{where} {text}: expected NAME=VALUE with a number, such as budget=0.7")
        if name.strip() in found:
            raise ConfigError(f"{where} {text}: {name.strip()!r} is given twice")
        found[name.strip()] = number
    return found


def parse(cls: type[T], data: Any, where: str = "") -> T:
    """Build the dataclass ``cls`` from a mapping, checking every key and type, recursively.

    Args:
        cls: a dataclass; its ``__post_init__`` may raise ``ValueError`` for values out of range.
        data: the mapping; an instance of ``cls`` is returned unchanged.
        where: the path of the entry, used in messages.

    Raises:
        ConfigError: an unknown or missing key, a wrong type, or a refused value.
    """
    if isinstance(data, cls):
        return data
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where or 'the document'}: expected a mapping, got {_show(data)}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls)) if field.init}
    for key in data:
        if key not in fields:
            raise unknown("key", str(key), fields, where)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        place = f"{where}.{name}" if where else name
        if name in data:
            values[name] = convert(hints[name], data[name], place)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{place}: required entry is missing")
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from error


def convert(hint: Any, value: Any, where: str) -> Any:
    """Check ``value`` against a type hint and convert it (int to float, list to tuple, mapping to dataclass)."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(args, value, where)
    if origin is Literal:
        if value in args and any(type(value) is type(option) for option in args):
            return value
        raise ConfigError(f"{where}: {value!r} is not one of the choices.{nearest(str(value), map(str, args))}")
    if dataclasses.is_dataclass(hint):
        return parse(typing.cast(type, hint), value, where)
    if origin in (list, tuple):
        return _convert_sequence(origin, args, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: expected a mapping, got {_show(value)}")
        return {convert(args[0], k, where): convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    return _convert_scalar(hint, value, where)


def _convert_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    errors = []
    for option in options:
        if option is type(None):
            continue
        try:
            return convert(option, value, where)
        except ConfigError as error:
            errors.append(str(error))
    raise ConfigError(errors[-1])


def _convert_sequence(origin: type, args: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where}: expected a list, got {_show(value)}")
    if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
        if len(value) != len(args):
            raise ConfigError(f"{where}: expected {len(args)} values, got {len(value)}")
        return tuple(convert(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(zip(args, value, strict=True)))
    return origin(convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise ConfigError(f"{where}: must be a finite number, got {value}")
            return float(value)
        if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string
            try:
                return convert(float, float(value), where)
            except ValueError:
                pass
        raise ConfigError(f"{where}: expected a number, got {_show(value)}")
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    name = getattr(hint, "__name__", str(hint))
    raise ConfigError(f"{where}: expected {name}, got {_show(value)}")


def _show(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) < 60 else text[:57] + '...'} ({type(value).__name__})"


def to_dict(config: Any) -> Any:
    """Turn a tree of dataclasses into plain YAML-ready mappings, lists and scalars."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: to_dict(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): to_dict(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_dict(item) for item in config]
    if isinstance(config, Path):
        return str(config)
    return config


def dump_yaml(config: Any) -> str:
    """Return a configuration as YAML text, in the order of its fields."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, width=120)


def config_hash(config: Any) -> str:
    """Return 16 hex digits that identify a resolved configuration (independent of key order)."""
    text = json.dumps(to_dict(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
