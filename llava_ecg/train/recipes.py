"""``--config FILE``: a recipe is YAML whose keys are flag names. It becomes the words of a command line, in front of
those that were typed, so that a typed flag wins and every value is read by the same parser."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from llava_ecg.errors import InputError


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: ``no`` is a word (of ``save_strategy: no``), a date is text, a key stands once."""

    yaml_implicit_resolvers = {
        first: [
            (tag, pattern)
            for tag, pattern in found
            if not tag.endswith(":timestamp") and not (tag.endswith(":bool") and first in "yYnNoO")
        ]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise InputError(f"{twice!r} stands there twice; leave one of them")
        return super().construct_mapping(node, deep)


def taken_out(words: Sequence[str]) -> tuple[list[str], Path | None]:
    """The command line without ``--config FILE``, and the file.

    Raises:
        InputError: it has no file, or several.
    """
    left: list[str] = []
    files: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--config":
            file = next(rest, "")
            if not file or file.startswith("--"):
                raise InputError("--config needs a file: a recipe such as scripts/recipes/finetune.yaml")
            files.append(file)
        elif word.startswith("--config="):
            files.append(word.partition("=")[2])
        else:
            left.append(word)
    if len(files) > 1:
        raise InputError(f"--config is given {len(files)} times; give one recipe, and what differs from it as flags")
    return left, Path(files[0]).expanduser() if files else None


def read_recipe(path: Path) -> dict[str, Any]:
    """Flag name -> value, as the file has them.

    Raises:
        InputError: no such file, no YAML, or no mapping of names.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a SafeLoader: plain values alone
    except OSError as error:
        raise InputError(f"can't read the recipe {path}: {error.strerror}") from error
    except InputError as error:
        raise InputError(f"the recipe {path}: {error}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"the recipe {path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise InputError(f"the recipe {path} is no list of settings; it has a line such as  learning_rate: 2e-5  each")
    return dict(values)


def words_of(
    path: Path, known: Collection[str], former: Collection[str], check: Callable[[Sequence[str]], None]
) -> list[str]:
    """A recipe as the words of a command line.

    Args:
        known: names of flags.
        former: names that are translated later, and may stand here too.
        check: is given the words of one setting, and raises `InputError` where the parser can't read them.

    Raises:
        InputError: an unknown key, with the nearest names, or a value of another type; names file and key.
    """
    words: list[str] = []
    for key, value in read_recipe(path).items():
        name = key.replace("-", "_")
        if name not in known and name not in former:
            near = difflib.get_close_matches(name, [*known, *former], n=2, cutoff=0.6)
            hint = f"did you mean {' or '.join(near)}?" if near else "python -m llava_ecg.train --help lists all"
            raise InputError(f"the recipe {path} has the unknown key {key!r}; {hint}")
        own = _words(path, name, value)
        if name in known:
            try:
                check(own)
            except InputError as error:
                raise InputError(f"the recipe {path} has {key}: {value!r}, which can't be: {error}") from error
        words += own
    return words


def _words(path: Path, name: str, value: Any) -> list[str]:
    """One setting; nothing at all for ``null``, which leaves the default."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [f"--{name}", json.dumps(value)]
    if isinstance(value, list):
        if not value or not all(isinstance(each, str | int | float) for each in value):
            raise InputError(f"the recipe {path} has {name}: {value!r}; a list holds plain words, and at least one")
        return [f"--{name}", *map(str, value)]
    text = str(value)
    return [f"--{name}={text}"]  # in one word, so that a text may begin with a dash
