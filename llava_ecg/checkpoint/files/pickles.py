"""Pickles of PyTorch read as data: which tensors they describe, found without torch and without running anything.

A pickle is a small program, so here it is followed opcode by opcode (`pickletools`) on plain values: what it wants
imported stays a name, and what it wants called is ignored unless it is one of torch's own ways to make a tensor. Every
number in a file is held against the bytes that are there before anything is sized by it.
"""

from __future__ import annotations

import pickletools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llava_ecg.checkpoint.files.torch_names import (
    ALLOWED,
    DENSE,
    DENSE_V3,
    DTYPES,
    FROM_CPU,
    FROM_TYPE,
    ITEMSIZE,
    OPCODES,
    PARAMETER,
    STORAGE_CLASSES,
)  # fmt: skip

STEP_LIMIT = 2_000_000  # opcodes in a file, some 5 s; a 7B shard has 0.03 million
AXES_LIMIT = 64  # of a tensor, as in torch
NAME_LIMIT = 1000  # characters of what is to be imported
REFUSED_LIMIT = 100  # refused names that are kept
AGAIN = "download or copy it again"

_VALUES = frozenset(
    (
        *(
            "INT",
            "BININT",
            "BININT1",
            "BININT2",
            "LONG",
            "LONG1",
            "LONG4",
            "FLOAT",
            "BINFLOAT",
            "STRING",
            "BINSTRING",
            "SHORT_BINSTRING",
        ),
        *(
            "BINBYTES",
            "SHORT_BINBYTES",
            "BINBYTES8",
            "BYTEARRAY8",
            "UNICODE",
            "BINUNICODE",
            "SHORT_BINUNICODE",
            "BINUNICODE8",
        ),
    )
)
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class Damaged(Exception):
    """What is wrong with a file, as the rest of a sentence that begins with its path."""


def shown(text: str) -> str:
    """Text from a file as it may stand in a message: quoted, control characters escaped, cut at 80 characters."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")


def natural(value: object) -> bool:
    """Whether this is a whole number that fits where torch keeps sizes: 0 to 2^63 - 1."""
    return type(value) is int and 0 <= value < 1 << 63


def check(shape: Sequence[Any]) -> None:
    """Hold a shape against what a tensor can have.

    Raises:
        Damaged: a size is no whole number, or the number of elements is gigantic.
    """
    if len(shape) > AXES_LIMIT or not all(map(natural, shape)):
        raise Damaged(
            f"is damaged: a tensor has {len(shape)} axes, more than {AXES_LIMIT}, or a size that is no whole "
            f"number; {AGAIN}"
        )
    numel = 1
    for size in shape:
        numel *= size
        if not natural(numel):
            raise Damaged(f"is damaged: a tensor of shape {list(shape)} is larger than any memory; {AGAIN}")


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor as a pickle describes it: its shape and torch's name for its dtype."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Storage:
    """A block of elements that tensors are views of; ``start`` is where a view of the block begins."""

    dtype: str
    numel: int
    start: int = field(default=0, compare=False)

    @property
    def nbytes(self) -> int:
        return self.numel * ITEMSIZE[self.dtype]


@dataclass(frozen=True)
class Global:
    """Something that a pickle wants imported; here a name and nothing else."""

    name: str


class Made(dict[str, Any]):
    """What calling a `Global` would have made: nothing but the entries that are put into it."""

    def __init__(self, by: str) -> None:
        self.by = by


class Pickle:
    """Follows the pickles of a file. What they build is made of plain values, `Tensor`, `Storage`, `Global` and `Made`
    only.

    Attributes:
        storages: key -> what the tensors so far are views of.
        refused: the names and opcodes so far that ``torch.load(weights_only=True)`` stops at, in their order.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.storages: dict[str, Storage] = {}
        self.refused: dict[str, None] = {}
        self.steps = 0

    def load(self) -> Any:
        """The next pickle of the stream.

        Raises:
            Damaged: it breaks off, makes no sense, or takes too many steps.
        """
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the marks
        self.memo: dict[int, Any] = {}
        try:
            for opcode, argument, _ in pickletools.genops(self.stream):
                name = opcode.name
                self._count(1)
                if name not in OPCODES:
                    self._refuse(f"pickle opcode {name}")
                if name in _VALUES:
                    self.stack.append(argument)
                elif name in _CONSTANTS:
                    self.stack.append(_CONSTANTS[name])
                elif not self._move(name, argument) and not self._build(name, argument):
                    raise ValueError(f"opcode {name} has no place here")
            return self.stack.pop()
        except (ValueError, LookupError, OverflowError) as error:
            raise Damaged(
                f"is damaged or cut short: its pickle can't be followed ({shown(str(error))}); {AGAIN}"
            ) from error

    def _move(self, name: str, argument: Any) -> bool:
        """Opcodes that move values between stack, tuples and memo; False for another one."""
        stack = self.stack
        match name:
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                if not 0 <= argument < STEP_LIMIT:  # any number of equal hashes could be made of larger ones
                    raise ValueError(f"memo number {argument}")
                self.memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self.memo[argument])
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "TUPLE":
                self._push(tuple(self._marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [stack.pop() for _ in range(int(name[-1]))]
                stack.append(tuple(reversed(items)))
            case "LIST":
                self._push(self._marked())
            case "DUP":
                stack.append(stack[-1])
            case "POP" if stack:
                del stack[-1]
            case "POP" | "POP_MARK":
                self._marked()
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _:
                return False
        return True

    def _build(self, name: str, argument: Any) -> bool:
        """Opcodes that fill collections, name things and call them; False for another one."""
        match name:
            case "EMPTY_DICT":
                self._push({})
            case "EMPTY_LIST":
                self._push([])
            case "EMPTY_SET":
                self._push(Made("builtins.set"))
            case "FROZENSET":
                self._marked()
                self._push(Made("builtins.frozenset"))
            case "DICT":
                self._push(_fill({}, self._marked()))
            case "SETITEM":
                value = self.stack.pop()
                key = self.stack.pop()
                _fill(self.stack[-1], [key, value])
            case "SETITEMS":
                items = self._marked()
                _fill(self.stack[-1], items)
            case "APPEND" | "APPENDS":
                items = [self.stack.pop()] if name == "APPEND" else self._marked()
                if isinstance(self.stack[-1], list):
                    self.stack[-1].extend(items)
            case "ADDITEMS":
                self._marked()
            case "GLOBAL":
                self._push(self._global(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                attribute = self.stack.pop()
                self._push(self._global(self.stack.pop(), attribute))
            case "INST":
                self._push(self._call(self._global(*argument.split(" ", 1)), tuple(self._marked())))
            case "OBJ":
                items = self._marked()
                self._push(self._call(items[0], tuple(items[1:])))
            case "REDUCE" | "NEWOBJ" | "NEWOBJ_EX":
                if name == "NEWOBJ_EX":
                    self.stack.pop()
                arguments = self.stack.pop()
                self._push(self._call(self.stack.pop(), arguments))
            case "BUILD":
                self.stack.pop()
                if isinstance(self.stack[-1], Tensor):
                    raise ValueError("a tensor is changed after it was made")
            case "BINPERSID":
                self._push(self._persistent(self.stack.pop()))
            case _:
                return False
        return True

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _marked(self) -> list[Any]:
        """What lies above the last mark, taken off together with it."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def _count(self, steps: int) -> None:
        self.steps += steps
        if self.steps > STEP_LIMIT:
            raise Damaged(f"is not opened: its pickle takes more than {STEP_LIMIT:,} steps; save the state dict alone")

    def _refuse(self, name: str) -> None:
        if len(self.refused) < REFUSED_LIMIT:
            self.refused[name] = None

    def _global(self, module: object, attribute: object) -> Global:
        if not isinstance(module, str) or not isinstance(attribute, str) or len(module) + len(attribute) > NAME_LIMIT:
            raise ValueError(f"a name is no text of at most {NAME_LIMIT} characters")
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(
            module, module
        )  # Python 2's names, which protocol 2 keeps
        name = f"{module}.{attribute}"
        if name not in ALLOWED:
            self._refuse(name if name.isprintable() else shown(name))
        return Global(name)

    def _persistent(self, value: Any) -> Any:
        """A storage: ("storage", class, key, device, elements) and, in the old format, the part of it that is meant."""
        if isinstance(value, tuple) and len(value) > 1 and value[0] == "module":  # a class, with its source beside it
            return value[1]
        if (
            not isinstance(value, tuple)
            or len(value) not in (5, 6)
            or value[0] != "storage"
            or not isinstance(value[1], Global)
        ):
            raise ValueError("a reference to something that is no storage")
        key, numel, view = value[2], value[4], value[5] if len(value) == 6 else None
        dtype = STORAGE_CLASSES.get(value[1].name)
        if dtype is None or not isinstance(key, str) or not natural(numel) or not natural(numel * ITEMSIZE[dtype]):
            raise ValueError("a storage without a known class, key or size")
        storage = Storage(dtype, numel)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError("a storage is described in two ways")
        if view is None:
            return storage
        if (
            not isinstance(view, tuple)
            or len(view) != 3
            or not all(map(natural, view[1:]))
            or view[1] + view[2] > numel
        ):
            raise ValueError("a view reaches beyond its storage")
        return Storage(dtype, view[1] + view[2], start=view[1])

    def _call(self, function: Any, arguments: Any) -> Any:
        """What a call makes: a tensor, a mapping or a shape if the function is known, else a `Made`."""
        while (
            isinstance(function, Global)
            and function.name == FROM_TYPE
            and isinstance(arguments, tuple)
            and len(arguments) == 4
        ):
            function, _, arguments, _ = arguments
        if not isinstance(function, Global | Made) or not isinstance(arguments, tuple):
            raise ValueError("a call of something that is no function")
        if isinstance(function, Made):
            return Made(function.by)
        match function.name:
            case name if name in DENSE:
                return _tensor(*_first(4, arguments))
            case name if name == DENSE_V3:
                storage, offset, size, stride, _, _, dtype = _first(7, arguments)
                return _tensor(storage, offset, size, stride, _dtype(dtype))
            case name if name in PARAMETER:
                return arguments[0]
            case name if name == FROM_CPU and isinstance(arguments[0], Tensor):
                return replace(arguments[0], dtype=_dtype(arguments[1]))
            case "torch.Size":
                sizes = arguments[0] if isinstance(arguments[0], list | tuple) else ()
                self._count(len(sizes))  # it is copied, and one list may be named again and again
                return tuple(sizes)
            case "collections.OrderedDict" | "collections.defaultdict" | "builtins.dict":
                pairs = arguments[-1] if arguments and isinstance(arguments[-1], list) else []
                self._count(len(pairs))
                return _fill({}, [item for pair in pairs for item in _first(2, pair)])
        return Made(function.name)


def _fill(target: Any, items: list[Any]) -> Any:
    """Put key, value, key, value, ... into a mapping. Only texts are kept as keys: hashing a nest of tuples can take
    forever."""
    if len(items) % 2 or not isinstance(target, dict):
        raise ValueError("entries for something that is no mapping")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(key, str):
            if key in target:
                raise Damaged(f"is damaged: its pickle has the key {shown(key)} twice; {AGAIN}")
            target[key] = value
    return target


def _first(count: int, values: Any) -> Sequence[Any]:
    if not isinstance(values, list | tuple) or len(values) < count:
        raise ValueError("too few arguments")
    return values[:count]


def _dtype(value: Any) -> str:
    if not isinstance(value, Global) or value.name not in DTYPES:
        raise ValueError("a dtype that torch has not")
    return DTYPES[value.name]


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, dtype: str = "") -> Tensor:
    """A view of a storage: ``offset``, ``shape`` and ``stride`` in elements of ``dtype``, the storage's own if
    empty."""
    if (
        not isinstance(storage, Storage)
        or not isinstance(shape, tuple)
        or not isinstance(stride, tuple)
        or len(shape) != len(stride)
    ):
        raise ValueError("a tensor without a storage, a shape and strides")
    check(shape)
    if not natural(offset) or not all(map(natural, stride)):
        raise ValueError("a tensor with impossible strides")
    dtype = dtype or storage.dtype
    last = sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if 0 not in shape else -1
    needed = storage.start * ITEMSIZE[storage.dtype] + (offset + last + 1) * ITEMSIZE[dtype]
    if needed > storage.nbytes and 0 not in shape:
        raise Damaged(
            f"is damaged: a tensor of shape {list(shape)} needs {needed:,} bytes, its storage has "
            f"{storage.nbytes:,}; {AGAIN}"
        )
    return Tensor(shape, dtype)
