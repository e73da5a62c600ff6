"""Name -> thing, for everything that can be plugged in.

An entry is the string ``"package.module:attribute"`` until somebody asks for it, so listing what exists imports
nothing. Entries come from three places: built in, installed (an entry point of the registry's group, in any
distribution), or added at run time. A name is taken once; taking it again is an error that names the holder.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

from llava_ecg.errors import InputError


class Registry:
    """One socket: a kind of thing (``tower``, ``reader``, ...) and the names it can be asked for."""

    def __init__(self, kind: str, builtin: Mapping[str, str], summary: str = "") -> None:
        self.kind = kind
        self.group = f"llava_ecg.{kind}s"
        self.summary = summary
        self._builtin = dict(builtin)
        self._added: dict[str, Any] = {}

    @cached_property
    def _installed(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for point in entry_points(group=self.group):
            holder = self._builtin.get(point.name) or found.get(point.name)
            if holder is None:
                found[point.name] = point.value
            elif holder != point.value:
                raise InputError(
                    f"the {self.kind} name {point.name!r} of the installed entry point {point.value} is taken by "
                    f"{holder}; "
                    "uninstall or rename one of them"
                )
        return found

    def add(self, name: str, target: Any) -> None:
        """Take ``name`` for ``target``, an object or a ``"module:attribute"`` string.

        Raises:
            InputError: the name is taken.
        """
        if name in self:
            raise InputError(f"the {self.kind} name {name!r} is taken by {self.where(name)}; choose another")
        self._added[name] = target

    def remove(self, name: str) -> None:
        """Give back a name that was added at run time."""
        del self._added[name]

    def get(self, name: str) -> Any:
        """The thing behind ``name``, imported now if it was still a string.

        Raises:
            InputError: no such name (the nearest ones are given), or its module can't be imported.
        """
        if name not in self:
            raise InputError(f"unknown {self.kind} {name!r}{self._nearest(name)}")
        target = self._added.get(name) or self._builtin.get(name) or self._installed[name]
        if not isinstance(target, str):
            return target
        module, _, attribute = target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a plug-in's module may fail in any way
            raise InputError(f"the {self.kind} {name!r} ({target}) can't be imported: {error}") from error

    def where(self, name: str) -> str:
        """Where ``name`` comes from, as text, without importing it."""
        target = self._added.get(name) or self._builtin.get(name) or self._installed[name]
        if isinstance(target, str):
            return target
        named = target if hasattr(target, "__qualname__") else type(target)
        return f"{named.__module__}:{named.__qualname__}{'' if named is target else ' (added at run time)'}"

    def __contains__(self, name: object) -> bool:
        return name in self._added or name in self._builtin or name in self._installed

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._builtin, *self._installed, *self._added}))

    def _nearest(self, name: str) -> str:
        near = difflib.get_close_matches(name, list(self), n=3, cutoff=0.5)
        return f"; did you mean {' or '.join(near)}?" if near else f"; known are: {', '.join(self)}"
