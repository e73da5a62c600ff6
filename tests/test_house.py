"""The house guards itself: who may import whom, where each heavy library enters, and what may not happen at import.

The rules are the tables below. A new top-level module is added to `FLOORS` when it is added to the package.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "llava_ecg"

# A part imports from the rows above its own and from nothing else: never up, never sideways. "" is the package itself:
# its version, and the public names that it fetches when they are used.
FLOORS = (
    ("errors",),
    ("registry", "remote", "display"),
    ("plugins", "streams", "cache"),
    ("engine",),
    ("data", "checkpoint"),
    ("ecg",),
    ("grounding", "model"),
    ("train", "instruct", "files", "case", "processor", "pasted", "writer"),
    ("asked",),
    ("auto", "assistant", "terminal"),
    ("report", "revising", ""),
    ("chat", "eval", "serve", "doctor", "document"),
    ("cli",),
    ("__main__",),
)
FLOOR = {part: floor for floor, row in enumerate(FLOORS) for part in row}

# Library -> the modules (or packages, with all that is in them) that may import it.
DOORS = {
    "wfdb": ("ecg.formats.physionet", "ecg.formats.wfdb_signals", "ecg.formats.write_wfdb"),
    "pydicom": ("ecg.formats.dicom", "ecg.formats.write_dicom"),
    "h5py": ("ecg.formats.hdf5",),
    "pyarrow": ("ecg.formats.parquet_worker",),
    "ecgdatakit": ("ecg.formats.vendor",),
    "edfio": ("ecg.formats.edf", "ecg.formats.write_edf"),
    "sleepecg": ("ecg.waves.rules",),
    "open_clip": ("model.towers.ecg_coca",),
    "bitsandbytes": ("checkpoint.quantize",),
    "peft": ("train",),
    "accelerate": ("train",),
    "flash_attn": ("engine.kernels",),
    "triton": ("engine.split_kv", "engine.int8_product"),
    "inspect_ai": ("eval.harness", "eval.provider", "eval.runs"),
    "prompt_toolkit": ("terminal",),
    "fastapi": ("serve.app",),
    "starlette": ("serve.app",),
    "uvicorn": ("serve.server",),
    "openai": ("remote",),
    "huggingface_hub": ("checkpoint.places.hub",),
    "requests": ("remote",),
    "urllib.request": ("remote",),
    "http.client": ("remote",),
    "wandb": (),  # by the Trainer's own callback
    "torchvision": (),  # its CUDA libraries break transformers on a machine without them
    "timm": (),
}

# Reading, measuring and auditing an ECG costs no torch; the command line loads what a command needs when it runs.
NEVER = dict.fromkeys(
    ("grounding", "errors", "registry", "plugins", "terminal"), ("torch", "transformers", "safetensors")
)
# Within a part too, imports go down: a room imports from the rows above its own, or from its own row where no circle
# comes of it.
ROOMS = {
    "checkpoint": (
        ("files",),
        ("places", "keymaps", "arithmetic"),
        ("lora", "towers"),
        ("source", "shapes", "released", "words"),
        ("companions", "fit", "weights"),
        ("opening", "tokenizer", "quantize", "listing"),
        ("standing", "inspected", "inspect", "building"),
    ),
    "model": (
        ("config",),
        ("towers", "projectors", "finite", "loss", "released_configs"),
        ("opened",),
        ("pretrained",),
        ("llava",),
        ("loading", "saving"),
        ("convert",),
    ),
}
# Files that know the names of the released models' two streams. A third party's stream must not need a line in any; the
# number only falls.
MODALITIES = ("ecg", "image", "ecg.", "image.")
AT_HOME = ("ecg", "grounding", "checkpoint.towers", "model.towers", "train.tiny")
NAMED_IN = 8

NEVER["ecg"] = ("torch", "transformers")  # the delineator's weights are a safetensors file, read as numpy arrays
NOT_AT_IMPORT = dict.fromkeys(
    ("cli", "files", "registry", "plugins"), ("torch", "transformers", "scipy", "numpy", "PIL")
)

# Bare calls that may stand at the top level of a module: they tell a library's registry about a class.
CALLS = (
    "AttentionInterface.register",
    "AutoConfig.register",
    "AutoModel.register",
    "AutoModelForCausalLM.register",
    "auto.install",
)
# The import path is left alone, but for the one finder that tells transformers' Auto classes of our checkpoints when
# they are loaded, since loading them ourselves would cost every ``import llava_ecg`` two seconds.
FINDERS = ("auto",)
FILE_LINES, FUNCTION_LINES = 400, 80
# The sockets: tables of what is plugged in, by name, so that nothing is imported before it is asked for.
BY_NAME = ("plugins",)


class SizeReport(UserWarning):
    """Files and functions that are longer than we like: shown after the tests, no failure."""


@dataclass(frozen=True)
class Import:
    """One import: ``target`` is a full module name; ``lazy`` if it stands in a function, ``typed`` if only a type
    checker sees it."""

    target: str
    line: int
    lazy: bool
    typed: bool


def modules(root: Path) -> dict[str, str]:
    """Module name -> source of everything in the package under ``root``."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def inner(module: str) -> str:
    """The name inside the package: ``llava_ecg.ecg.leads`` -> ``ecg.leads``."""
    return module.removeprefix(PACKAGE).removeprefix(".")


def part(module: str) -> str:
    """The top-level part that a module belongs to: ``llava_ecg.ecg.leads`` -> ``ecg``."""
    return inner(module).split(".")[0]


def within(name: str, places: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of ``places`` or lies below one."""
    return any(name == place or name.startswith(place + ".") for place in places)


def imports(tree: ast.Module, known: set[str]) -> Iterator[Import]:
    """Every import in a module, those in functions, under TYPE_CHECKING and by name included; ``from package import
    module`` names it."""

    def visit(node: ast.AST, lazy: bool, typed: bool) -> Iterator[Import]:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[
                0
            ]  # an import by name: "llava_ecg.model.llava", "llava_ecg.processor:Processor"
            if name in known and name not in (PACKAGE, PACKAGE + "."):
                yield Import(name, node.lineno, True, typed)
        elif isinstance(node, ast.Import):
            yield from (Import(name.name, node.lineno, lazy, typed) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            for name in node.names:
                deeper = f"{source}.{name.name}"
                yield Import(deeper if deeper in known else source, node.lineno, lazy, typed)
        else:
            lazy = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                for guarded in node.body:
                    yield from visit(guarded, lazy, True)
                for other in node.orelse:
                    yield from visit(other, lazy, typed)
            else:
                for child in ast.iter_child_nodes(node):
                    yield from visit(child, lazy, typed)

    yield from visit(tree, False, False)


def layer_faults(module: str, found: list[Import]) -> Iterator[str]:
    """Imports that go up or sideways, through the wrong door, or bring what this part does without."""
    here = part(module)
    if here not in FLOOR:
        yield f"{module}: a new part of the house; give {here!r} its floor in FLOORS of tests/test_house.py"
        return
    for each in found:
        at = f"{module}:{each.line}"
        if each.target.startswith("."):
            yield f"{at}: relative import; write the whole name, {PACKAGE}..."
        elif within(each.target, (PACKAGE,)):
            there = part(each.target)
            if there != here and FLOOR.get(there, len(FLOORS)) >= FLOOR[here]:
                yield f"{at}: {here or PACKAGE} imports {each.target}, which is not below it"
        else:
            for library, doors in DOORS.items():
                if within(each.target, (library,)) and not within(inner(module), doors):
                    yield f"{at}: {library} enters at {', '.join(doors) or 'no door at all'} only"
            if within(each.target, NEVER.get(here, ())):
                yield f"{at}: {each.target} in {here}, which does without it"
            if within(each.target, NOT_AT_IMPORT.get(here, ())) and not each.lazy and not each.typed:
                yield f"{at}: {each.target} at the top level of {here}; import it in the function that needs it"


def room_faults(module: str, found: list[Import]) -> Iterator[str]:
    """Imports that go up within a part of `ROOMS`."""
    rows = ROOMS.get(part(module), ())
    floor = {room: number for number, row in enumerate(rows) for room in row}
    here = inner(module).split(".")[1] if inner(module).count(".") else ""
    if not rows or not here:
        return
    if here not in floor:
        yield f"{module}: a new room; give {here!r} its floor in ROOMS of tests/test_house.py"
        return
    for each in found:
        there = inner(each.target).split(".")[1:2] if part(each.target) == part(module) else []
        if there and there[0] != here and floor.get(there[0], -1) > floor[here]:
            yield f"{module}:{each.line}: {here} imports {each.target}, which is above it"


def named_in(sources: Mapping[str, str]) -> list[str]:
    """The modules, outside of `AT_HOME`, in whose code a stream of the released models is named."""
    found = []
    for module, source in sources.items():
        texts = {
            node.value
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        if not within(inner(module), AT_HOME) and texts & set(MODALITIES):
            found.append(module)
    return found


def habit_faults(module: str, tree: ast.Module) -> Iterator[str]:
    """``import *``, edits of sys.path, defaults guessed with getattr, and work at import time."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(name.name == "*" for name in node.names):
            yield f"{module}:{node.lineno}: import *"
        if isinstance(node, (ast.Attribute, ast.Name)) and ast.unparse(node) in (
            "sys.path",
            "sys.meta_path",
            "site.addsitedir",
        ):
            if ast.unparse(node) == "sys.meta_path" and inner(module) in FINDERS:
                continue
            yield f"{module}:{node.lineno}: {ast.unparse(node)}; install the package and leave the import path alone"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) == 3:
            subject = ast.unparse(node.args[0]).split(".")[-1]
            if subject in ("config", "cfg", "args", "arguments") and isinstance(node.args[1], ast.Constant):
                told = f"{module}:{node.lineno}: {ast.unparse(node)} guesses a default"
                yield f"{told}; the default belongs where {subject} is made"
    for node in tree.body:
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and ast.unparse(node.value.func) not in CALLS
        ):
            yield f"{module}:{node.lineno}: {ast.unparse(node.value.func)}(...) runs at import"
        if isinstance(node, (ast.For, ast.While, ast.With)):
            yield f"{module}:{node.lineno}: a {type(node).__name__.lower()} block runs at import"
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            for call in (each for each in ast.walk(node.value) if isinstance(each, ast.Call)):
                if ast.unparse(call.func).split(".")[-1] in (
                    "open",
                    "read_text",
                    "read_bytes",
                    "load",
                    "import_module",
                ):
                    yield f"{module}:{call.lineno}: {ast.unparse(call.func)}(...) runs at import"


def circles(edges: Mapping[str, set[str]]) -> list[str]:
    """Circles among modules, each as ``a -> b -> a``; what only a type checker sees is not in ``edges``."""
    found: set[str] = set()
    state: dict[str, str] = {}

    def visit(module: str, trail: list[str]) -> None:
        state[module] = "open"
        for target in sorted(edges.get(module, ())):
            if state.get(target) == "open":
                found.add(" -> ".join([*trail[trail.index(target) :], target]))
            elif target not in state:
                visit(target, [*trail, target])
        state[module] = "done"

    for module in sorted(edges):
        if module not in state:
            visit(module, [module])
    return sorted(found)


def inspect(sources: Mapping[str, str]) -> list[str]:
    """Everything in these modules that breaks a rule, a line each."""
    faults: list[str] = []
    edges: dict[str, set[str]] = {}
    known = {*sources, *(f"{PACKAGE}.{name}" for name in FLOOR)}
    for module, source in sources.items():
        tree = ast.parse(source)
        found = [each for each in imports(tree, known) if inner(module) not in BY_NAME or not each.lazy]
        edges[module] = {
            each.target for each in found if each.target in sources and not each.typed and each.target != module
        }
        faults += [*layer_faults(module, found), *room_faults(module, found), *habit_faults(module, tree)]
    return faults + [f"a circle of imports: {circle}" for circle in circles(edges)]


def oversize(sources: Mapping[str, str]) -> list[str]:
    """Files and functions beyond the sizes we like."""
    found = []
    for module, source in sources.items():
        if (lines := source.count("\n")) > FILE_LINES:
            found.append(f"{module}: {lines} lines (we like {FILE_LINES})")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found.append(f"{module}:{node.lineno}: {node.name} has {lines} lines (we like {FUNCTION_LINES})")
    return found


def test_every_module_keeps_the_rules() -> None:
    sources = modules(ROOT)
    assert f"{PACKAGE}.registry" in sources, "the package was not found"
    assert inspect(sources) == []


def test_few_files_know_the_released_models_streams() -> None:
    found = named_in(modules(ROOT))
    assert len(found) <= NAMED_IN, found
    assert len(found) == NAMED_IN, f"fewer than {NAMED_IN}: write {len(found)} into NAMED_IN"
    assert named_in(
        {"llava_ecg.data.x": "y = {'ecg': 1}", "llava_ecg.ecg.x": "y = 'ecg'", "llava_ecg.data.z": "y = 'an ecg'"}
    ) == ["llava_ecg.data.x"]


def test_sizes_are_reported() -> None:
    """A report and no gate: a case that needs more is a case to explain."""
    if found := oversize(modules(ROOT)):
        warnings.warn("sizes reported:\n  " + "\n  ".join(found), SizeReport, stacklevel=1)
    assert oversize({"llava_ecg.long": "x = 1\n" * (FILE_LINES + 1)}) == ["llava_ecg.long: 401 lines (we like 400)"]
    assert oversize({"llava_ecg.long": "def f():\n" + "    x = 1\n" * FUNCTION_LINES}) == [
        "llava_ecg.long:1: f has 81 lines (we like 80)"
    ]


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("ecg.leads", "from llava_ecg.model import llava", "not below it"),
        ("ecg.leads", "def f():\n    from llava_ecg import assistant", "not below it"),
        ("data.batch", "import llava_ecg.model.config", "not below it"),
        ("model.llava", "from llava_ecg.grounding.audit import audit", "not below it"),
        ("registry", "from llava_ecg import remote", "not below it"),
        (
            "report",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from llava_ecg.cli import main",
            "not below it",
        ),
        ("checkpoint.source", "from llava_ecg.checkpoint.opening import open_source", "which is above it"),
        ("checkpoint.attic", "x = 1", "give 'attic' its floor in ROOMS"),
        ("model.config", "def f(load):\n    return load('llava_ecg.processor:Processor')", "not below it"),
        ("attic", "x = 1", "give 'attic' its floor"),
        ("ecg.leads", "from . import filters", "relative import"),
        (
            "ecg.measure",
            "def f():\n    import wfdb.processing",
            "wfdb enters at ecg.formats.physionet, ecg.formats.wfdb_signals, ecg.formats.write_wfdb only",
        ),
        (
            "cli",
            "def f():\n    from pydicom import dcmread",
            "pydicom enters at ecg.formats.dicom, ecg.formats.write_dicom only",
        ),
        ("model.towers.clip", "import torchvision", "no door at all"),
        ("chat", "def f():\n    import urllib.request", "urllib.request enters at remote only"),
        ("ecg.filters", "def f():\n    import torch.nn", "does without it"),
        ("cli", "import torch", "import it in the function"),
        ("cli", "from scipy import signal", "import it in the function"),
        ("model.llava", "from torch import *", "import *"),
        ("data.batch", "import sys\ndef f():\n    sys.path.append('.')", "leave the import path alone"),
        ("data.batch", "import sys\nsys.path = []", "leave the import path alone"),
        ("data.batch", "import sys\ndef f():\n    sys.meta_path.append(1)", "leave the import path alone"),
        ("model.llava", "def f(config):\n    return getattr(config, 'width', 768)", "guesses a default"),
        ("train.run", "print('hello')", "runs at import"),
        ("train.run", "for x in range(3):\n    pass", "a for block runs at import"),
        ("data.batch", "from pathlib import Path\nTEXT = Path('a').read_text()", "runs at import"),
    ],
)
def test_a_broken_rule_is_found(module: str, source: str, fault: str) -> None:
    found = inspect({f"{PACKAGE}.{module}": source})
    assert len(found) == 1, found
    assert fault in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ecg.formats.physionet", "def f():\n    import wfdb"),
        ("cli", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\ndef f():\n    import torch"),
        ("model.llava", "import torch\nfrom llava_ecg.ecg import leads\nfrom llava_ecg.errors import InputError"),
        ("model.config", "from transformers import AutoConfig\nAutoConfig.register('x', dict)"),
        ("errors", "x = getattr(object(), 'y', None)\nif __name__ == '__main__':\n    print(x)"),
        ("ecg.leads", "import wfdbish"),
        ("auto", "import sys\ndef f():\n    sys.meta_path.append(1)"),
    ],
)
def test_a_kept_rule_is_no_fault(module: str, source: str) -> None:
    assert inspect({f"{PACKAGE}.{module}": source}) == []


def test_a_circle_is_found_and_a_typed_one_is_none() -> None:
    one, two = f"{PACKAGE}.ecg.one", f"{PACKAGE}.ecg.two"
    back = f"from {PACKAGE}.ecg import one"
    typed = f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {back}"
    lazy = f"def f():\n    {back}"
    forth = f"from {PACKAGE}.ecg.two import x"
    assert inspect({one: forth, two: back}) == [f"a circle of imports: {one} -> {two} -> {one}"]
    assert len(inspect({one: forth, two: lazy})) == 1
    assert inspect({one: forth, two: typed}) == []


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after ``code``."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return {line.split(".")[0] for line in done.stdout.splitlines()}


def test_light_commands_load_nothing_heavy() -> None:
    code = """
from contextlib import suppress
from llava_ecg.cli import main
for words in (["--version"], ["list"], ["--help"], ["ask", "--help"], ["convert", "--help"]):
    with suppress(SystemExit):
        main(words)
"""
    assert not loaded_by(code) & {
        "torch",
        "transformers",
        "scipy",
        "numpy",
        "wfdb",
        "pydicom",
        "sleepecg",
        "PIL",
        "prompt_toolkit",
    }


def test_reading_and_measuring_load_no_torch() -> None:
    names = [name for name in modules(ROOT) if part(name) in ("", "auto", "ecg", "grounding", "files", "report")]
    assert f"{PACKAGE}.ecg.recording" in names
    assert not loaded_by("\n".join(f"import {name}" for name in names)) & {"torch", "transformers"}


def test_scripts_ask_for_no_variable_that_bash_sets_itself() -> None:
    """In a terminal bash sets LINES and COLUMNS to its size after every command, in scripts as well."""
    own = re.compile(r"\$\{?(LINES|COLUMNS|RANDOM|HOSTNAME|UID|GROUPS|PPID|SHLVL|OPTIND|REPLY|DIRSTACK)\b")
    assert own.search('--count "${LINES:-2080}"')
    for script in sorted(ROOT.rglob("scripts/**/*.sh")):
        assert not own.search(script.read_text(encoding="utf-8")), script
