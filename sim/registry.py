"""Named terms: a decorated function becomes a word of the task YAML, its keyword arguments become its keys."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from robolearn.config import ConfigError, convert, unknown

F = TypeVar("F", bound=Callable[..., Any])


class Registry(Generic[F]):
    """Terms of one kind (rewards, costs, ...), by the name of their function or class.

    Args:
        kind: singular noun, used in messages: ``reward``, ``termination``, ....
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._terms: dict[str, F] = {}

    def __call__(self, term: F) -> F:
        """Register ``term`` under its own name; use as a decorator.

        Raises:
            ConfigError: the name is taken, or the term has no docstring to show in ``robolearn list``.
        """
        name = term.__name__
        if name in self._terms:
            raise ConfigError(f"{self.kind} {name!r} is registered twice; choose another function name")
        if not inspect.getdoc(term):
            raise ConfigError(f"{self.kind} {name!r} has no docstring; say in one line what it measures")
        self._terms[name] = term
        return term

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._terms))

    def __contains__(self, name: object) -> bool:
        return name in self._terms

    def summary(self, name: str) -> str:
        """First line of the term's docstring."""
        return (inspect.getdoc(self._terms[name]) or "").splitlines()[0]

    def get(self, name: str, where: str = "") -> F:
        """Return the term of that name.

        Raises:
            ConfigError: there is none; the message gives the nearest name.
        """
        if name not in self._terms:
            raise unknown(self.kind, name, self._terms, where)
        return self._terms[name]

    def bind(self, name: str, params: Mapping[str, Any], where: str = "") -> Callable[..., Any]:
        """Return the term with its keyword parameters filled in from YAML, each checked against its type hint.

        Raises:
            ConfigError: unknown term, unknown or missing parameter, wrong type.
        """
        term = self.get(name, where)
        place = f"{where or self.kind}.{name}"
        hints = typing.get_type_hints(term.__init__ if inspect.isclass(term) else term)
        known = {
            parameter.name: parameter
            for parameter in inspect.signature(term).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        for key in params:
            if key not in known:
                raise unknown("key", str(key), known, place)
            if key not in hints:
                raise ConfigError(f"{place}.{key}: the parameter has no type hint; write `{key}: float` or the like")
        for key, parameter in known.items():
            if parameter.default is inspect.Parameter.empty and key not in params:
                raise ConfigError(f"{place}.{key}: required entry is missing")
        values = {key: convert(hints[key], value, f"{place}.{key}") for key, value in params.items()}
        return functools.partial(term, **values)
