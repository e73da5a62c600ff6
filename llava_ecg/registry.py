"""Name -> thing, for everything that can be plugged in.

An entry is the string ``"package.module:attribute"`` until somebody asks for it, so listing what exists imports
nothing. Entries come from three places: built in, installed (an entry point of the registry's group, in any
distribution), or added at run time. A name is taken once: taking it again at run time is an error that names the
holder. An installed entry point can't be refused when it is installed, so it is when it matters: a built-in part keeps
its name, and a name that two distributions take is an error for the run that asks for it, and for no other.
"""

from __future__ import annotations

import difflib
import importlib
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from llava_ecg.errors import InputError

BUILT_IN = "built in"
ADDED = "added at run time"


class Listed(NamedTuple):
    """A part as a list of them shows it.

    Attributes:
        name: what it is asked for by.
        origin: the distribution and its version, ``built in``, or ``added at run time``.
        where: ``module:attribute``.
        fault: why it can't be used, in a sentence; None where it can.
    """

    name: str
    origin: str
    where: str
    fault: str | None


class Registry:
    """One socket: a kind of thing (``tower``, ``reader``, ...) and the names it can be asked for.

    Args:
        kind: what one of them is called.
        builtin: name -> ``"module:attribute"``.
        summary: what the names stand for, in a line.
        needs: attributes that each thing must have to be of this kind.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str], summary: str = "", needs: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.group = f"llava_ecg.{kind}s"
        self.summary = summary
        self.needs = needs
        self._builtin = dict(builtin)
        self._added: dict[str, Any] = {}

    @cached_property
    def _points(self) -> dict[str, list[EntryPoint]]:
        """Name -> the installed entry points that take it, those of one value once."""
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            of_name = found.setdefault(point.name, [])
            if point.value not in [each.value for each in of_name]:
                of_name.append(point)
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
            InputError: no such name (the nearest ones are given), two packages take it, its module can't be imported,
                or what it holds lacks what a thing of this kind needs.
        """
        if name not in self:
            raise InputError(f"unknown {self.kind} {name!r}{self._nearest(name)}")
        if name in self._added:
            return self._checked(name, self._added[name])
        others = [point for point in self._points.get(name, []) if point.value != self._builtin.get(name)]
        if name in self._builtin:
            for point in others:
                warnings.warn(self._taken(point), stacklevel=2)
            return self._checked(name, self._builtin[name])
        if len(others) > 1:
            raise InputError(self._contested(others))
        return self._checked(name, others[0].value)

    def where(self, name: str) -> str:
        """Where ``name`` comes from, as text, without importing it."""
        target = self._added.get(name) or self._builtin.get(name)
        if target is None:
            return " and ".join(point.value for point in self._points[name])
        if isinstance(target, str):
            return target
        named = target if hasattr(target, "__qualname__") else type(target)
        return f"{named.__module__}:{named.__qualname__}{'' if named is target else f' ({ADDED})'}"

    def outside_first(self) -> list[str]:
        """The names, those from outside before the built-in ones: who brings a part for a special case must not lose
        it to a general one of ours."""
        return sorted(self, key=lambda name: (name in self._builtin, name))

    def usable(self) -> Iterator[tuple[str, Any]]:
        """The name of every part that can be used, and the part, for who takes all there are; of one that can't be
        used a warning tells, and the others are not harmed."""
        for name in self:
            try:
                found = self.get(name)
            except InputError as error:
                warnings.warn(f"left out: {error}", stacklevel=2)
            else:
                yield name, found

    def listed(self) -> Iterator[Listed]:
        """Every part with its origin and whether it can be used. To tell that, what is installed from outside is
        imported; what is built in is not, since it comes with this file and its tests."""
        for name in self:
            points = self._points.get(name, [])
            if name in self._added:
                yield Listed(name, ADDED, self.where(name), self._fault(name))
            elif name in self._builtin:
                yield Listed(name, BUILT_IN, self.where(name), None)
                for point in points:
                    if point.value != self._builtin[name]:
                        yield Listed(name, _distribution(point), point.value, self._taken(point))
            else:
                fault = self._fault(name)
                yield from (Listed(name, _distribution(point), point.value, fault) for point in points)

    def __contains__(self, name: object) -> bool:
        return name in self._added or name in self._builtin or name in self._points

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._builtin, *self._points, *self._added}))

    def _checked(self, name: str, target: Any) -> Any:
        """The thing itself, if it is one of this kind."""
        found = self._imported(name, target) if isinstance(target, str) else target
        for needed in self.needs:
            if not hasattr(found, needed):
                lacks = "can't be called" if needed == "__call__" else f"has no {needed!r}"
                raise InputError(
                    f"the {self.kind} {name!r} ({self.where(name)}) is none: it {lacks}; docs/extending.md says what a "
                    f"{self.kind} is"
                )
        return found

    def _imported(self, name: str, target: str) -> Any:
        module, _, attribute = target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as error:  # a plug-in's module may fail in any way
            why = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"the {self.kind} {name!r} ({target}) can't be imported: {why}") from error

    def _fault(self, name: str) -> str | None:
        try:
            self.get(name)
        except InputError as error:
            return str(error)
        return None

    def _taken(self, point: EntryPoint) -> str:
        return (
            f"the {self.kind} name {point.name!r} of {_distribution(point)} ({point.value}) is taken by the built-in "
            f"{self._builtin[point.name]}, which is used; rename the package's, or uninstall it"
        )

    def _contested(self, points: list[EntryPoint]) -> str:
        who = " and ".join(f"{point.value} ({_distribution(point)})" for point in points)
        return f"the {self.kind} name {points[0].name!r} is taken by {who}; uninstall or rename one of them"

    def _nearest(self, name: str) -> str:
        near = difflib.get_close_matches(name, list(self), n=3, cutoff=0.5)
        return f"; did you mean {' or '.join(near)}?" if near else f"; known are: {', '.join(self) or 'none'}"


def _distribution(point: EntryPoint) -> str:
    """The name and the version of the package that brings an entry point."""
    return "an unnamed package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
