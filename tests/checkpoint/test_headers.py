"""Headers of weight files: equal to what torch and safetensors say of the same files; whatever is wrong is one
sentence.

The files are written by torch.save and safetensors here; pickles that they would not write are put together byte by
byte.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from llava_ecg.checkpoint.files import pickles, torch_files, torch_names
from llava_ecg.checkpoint.files.headers import Header, read_folder, read_header, read_json, weight_files
from llava_ecg.errors import InputError

ROOT = Path(__file__).resolve().parent.parent.parent
FORMATS = ("safetensors", "zip", "legacy")
PROTO = b"\x80\x02"


def state() -> dict[str, torch.Tensor]:
    """Tensors that lie in their storages in every way."""
    base = torch.arange(24.0).reshape(4, 6)
    return collections.OrderedDict(
        whole=base,
        view=base[1:3, ::2],
        transposed=base.t(),
        expanded=torch.ones(1).expand(3, 5),
        empty=torch.zeros(0, 3),
        scalar=torch.tensor(1.0),
        half=torch.ones(3, dtype=torch.bfloat16),
        counts=torch.zeros(2, dtype=torch.int64),
        flags=torch.ones(5, dtype=torch.bool),
        parameter=torch.nn.Parameter(torch.ones(2, 2)),
        frozen=torch.nn.Parameter(torch.ones(2, dtype=torch.float16), requires_grad=False),
    )


def write(path: Path, form: str, values: Any = None) -> Path:
    values = state() if values is None else values
    if form == "safetensors":
        save_file(
            {name: value.detach().clone().contiguous() for name, value in values.items()},
            path,
            metadata={"format": "pt"},
        )
    else:
        torch.save(values, path, _use_new_zipfile_serialization=form == "zip")
    return path


def agree(header: Header, tensors: dict[str, Any]) -> None:
    """Hold a header against real tensors."""
    wanted = {name: value for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    assert {
        name: (ref.shape, f"torch.{ref.dtype}", ref.numel, ref.nbytes, ref.name) for name, ref in header.tensors.items()
    } == {
        name: (tuple(value.shape), str(value.dtype), value.numel(), value.numel() * value.element_size(), name)
        for name, value in wanted.items()
    }


def zipped(path: Path, data: bytes, parts: dict[str, bytes] | None = None, packing: int = zipfile.ZIP_STORED) -> Path:
    """A PyTorch file around a hand-made pickle."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("archive/data.pkl", data)
        for name, content in (parts or {}).items():
            archive.writestr(f"archive/{name}", content)
    return path


def tensor_pickle(
    shape: str = "K\x02K\x03\x86", stride: str = "K\x03K\x01\x86", offset: str = "K\x00", numel: str = "K\x06"
) -> bytes:
    """``{"a": tensor}`` of float32 in storage 0, with the numbers as opcodes."""
    storage = "((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + numel + "tQ"
    return PROTO + (
        "}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n" + storage + offset + shape + stride + "\x89}tRs."
    ).encode("latin-1")


def table(entries: dict[str, Any] | str | bytes, data: int = 0) -> bytes:
    """A safetensors file: this table, then so many zero bytes."""
    text = (
        json.dumps(entries).encode()
        if isinstance(entries, dict)
        else entries.encode()
        if isinstance(entries, str)
        else entries
    )
    return struct.pack("<Q", len(text)) + text + bytes(data)


def fails(path: Path, *words: str, by: Callable[[Path], Any] = read_header) -> str:
    """The message, which must be one line that names the file and has these words."""
    with pytest.raises(InputError) as caught:
        by(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and all(word in message for word in words), message
    return message


@pytest.mark.parametrize("form", FORMATS)
def test_headers_agree_with_torch(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "weights.anything", form)
    header = read_header(path)
    agree(header, state())
    assert header.format == ("safetensors" if form == "safetensors" else "pickle") and header.legacy == (
        form == "legacy"
    )
    assert header.refused == () and header.container == "" and header.tensors["whole"].path == path


DTYPES = [
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.int8,
    torch.uint8,
    torch.int16,
    torch.float64,
    torch.complex64,
]
DTYPES += [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu]


@pytest.mark.parametrize("form", ["safetensors", "zip"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(tmp_path: Path, form: str, dtype: torch.dtype) -> None:
    values = {"x": torch.zeros(4, 6, dtype=dtype)} | (
        {} if form == "safetensors" else {"rows": torch.zeros(4, 6, dtype=dtype)[1:, ::2]}
    )
    agree(read_header(write(tmp_path / "x", form, values)), values)


def test_half_bytes_are_counted_as_torch_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(table({"x": {"dtype": "F4", "shape": [2, 8], "data_offsets": [0, 8]}}, 8))
    with safe_open(path, "pt") as file:
        agree(read_header(path), {"x": file.get_tensor("x")})
    path.write_bytes(table({"x": {"dtype": "F4", "shape": [2, 3], "data_offsets": [0, 3]}}, 3))
    fails(path, "half bytes")


@pytest.mark.parametrize("container", ["state_dict", "model", "model_state_dict", "module"])
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_trainers_checkpoint(tmp_path: Path, form: str, container: str) -> None:
    """The state dict is found in what lies around it, and what torch would refuse is named."""
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"params": [0], "betas": (0.9, 0.999)}]}
    beside = {
        "epoch": 3,
        "loss": 0.1,
        "args": argparse.Namespace(lr=1e-3),
        "optimizer": optimizer,
        "seen": {1, 2},
        "bytes": b"\x00\xff",
    }
    header = read_header(write(tmp_path / "x.pt", form, {**beside, container: {**state(), "version": 2}}))
    agree(header, state())
    assert header.container == container and header.refused == ("argparse.Namespace",)


def test_parameters_with_attributes_and_on_meta(tmp_path: Path) -> None:
    tuned = torch.nn.Parameter(torch.ones(2, 3))
    tuned.note = "from the projector"  # type: ignore[attr-defined]
    absent = {"gone": torch.zeros(2, device="meta"), "too": torch.nn.Parameter(torch.zeros(2, device="meta"))}
    header = read_header(write(tmp_path / "x", "zip", {"tuned": tuned, **absent}))
    agree(header, {"tuned": tuned})  # those on meta have no data anywhere, so they are not there


def test_torchs_own_list_is_ours() -> None:
    """What is refused is what the installed torch refuses."""
    own = torch._weights_only_unpickler._get_allowed_globals()
    assert set(own) == torch_names.ALLOWED


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_protocols_that_torch_refuses(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "x.pt"
    torch.save({"a": torch.zeros(3, 2)}, path, pickle_protocol=protocol)
    header = read_header(path)
    agree(header, {"a": torch.zeros(3, 2)})
    try:
        torch.load(path, weights_only=True)
    except pickle.UnpicklingError:
        assert header.refused and all(name.startswith("pickle opcode ") for name in header.refused)
    else:
        assert header.refused == ()


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_no_code_is_run(tmp_path: Path, form: str) -> None:
    target = tmp_path / "made"
    header = read_header(write(tmp_path / "x", form, {"a": torch.ones(2), "b": Evil(target), "c": [Evil(target)]}))
    assert not target.exists() and set(header.tensors) == {"a"} and header.refused == (f"{os.mkdir.__module__}.mkdir",)
    with pytest.raises(FileExistsError):  # the file does what it says: it makes the folder for "b", and again for "c"
        torch.load(tmp_path / "x", weights_only=False)
    assert target.exists()


def test_old_and_odd_opcodes_run_nothing(tmp_path: Path) -> None:
    target = tmp_path / "made"
    call = f"cos\nmkdir\n(V{target}\ntR".encode()
    inst = f"(V{target}\nios\nmkdir\n".encode()
    obj = b"(cos\nmkdir\nV" + str(target).encode() + b"\no"
    new = b"cos\nmkdir\n(V" + str(target).encode() + b"\nt\x81"
    new_ex = b"cos\nmkdir\n(V" + str(target).encode() + b"\nt}\x92"
    stack = b"\x8c\x02os\x8c\x05mkdir\x93(V" + str(target).encode() + b"\ntR"
    for code in (call, inst, obj, new, new_ex, stack):
        data = tensor_pickle()
        path = zipped(tmp_path / "x", PROTO + code + b"0" + data[2:], {"data/0": bytes(24)})
        assert "os.mkdir" in read_header(path).refused and not target.exists()


@pytest.mark.parametrize("form", FORMATS)
def test_cut_short_anywhere(tmp_path: Path, form: str) -> None:
    whole = write(tmp_path / "whole", form).read_bytes()
    path = tmp_path / "cut"
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        fails(path)


def test_messages_give_both_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    fails(path, "cut short", f"{len(whole):,}", f"{len(whole) - 10:,}")
    path.write_bytes(whole + b"x")
    fails(path, f"{len(whole):,}", f"{len(whole) + 1:,}")
    old = write(tmp_path / "y", "legacy")
    whole = old.read_bytes()
    old.write_bytes(whole[:-1])
    fails(old, "cut short", f"{len(whole):,}", f"{len(whole) - 1:,}")
    fails(zipped(tmp_path / "z", tensor_pickle(), {"data/0": bytes(20)}), "storage '0'", "24 bytes", "20 are there")
    fails(zipped(tmp_path / "z", tensor_pickle()), "storage '0'", "24 bytes", "0 are there")


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
TABLES: dict[str, tuple[Any, str]] = {
    "bytes for another shape": ({"x": {**GOOD, "shape": [3]}}, "12 bytes"),
    "a gap": ({"x": {**GOOD, "data_offsets": [1, 9]}}, "begins at byte 1"),
    "an overlap": ({"x": GOOD, "y": GOOD}, "begins at byte 0"),
    "beyond the file": ({"x": {**GOOD, "shape": [2**40], "data_offsets": [0, 2**42]}}, "cut short"),
    "larger than memory": ({"x": {**GOOD, "shape": [2**40, 2**40]}}, "larger than any memory"),
    "larger than a number": ({"x": {**GOOD, "shape": [2**70]}}, "no whole number"),
    "a negative size": ({"x": {**GOOD, "shape": [-2]}}, "no whole number"),
    "a true size": ({"x": {**GOOD, "shape": [True]}}, "no whole number"),
    "a broken size": ({"x": {**GOOD, "shape": [2.0]}}, "no whole number"),
    "too many axes": ({"x": {**GOOD, "shape": [1] * 100}}, "100 axes"),
    "a negative offset": ({"x": {**GOOD, "data_offsets": [-8, 0]}}, "two offsets"),
    "one offset": ({"x": {**GOOD, "data_offsets": [8]}}, "two offsets"),
    "no dtype": ({"x": {"shape": [2], "data_offsets": [0, 8]}}, "entry for 'x'"),
    "an entry that is none": ({"x": 5}, "entry for 'x'"),
    "an unknown dtype": ({"x": {**GOOD, "dtype": "F12"}}, "'F12'"),
    "metadata of numbers": ({"__metadata__": {"a": 1}, "x": GOOD}, "__metadata__"),
    "no tensors": ({"__metadata__": {"a": "1"}}, "holds no tensors"),
    "a name twice": ('{"x":' + json.dumps(GOOD) + ',"x":' + json.dumps(GOOD) + "}", "'x' occurs twice"),
    "a name that moves the cursor": ({"\x1b[2Jx": GOOD}, r"'\x1b[2Jx'"),
    "a name that is no text": ('{"\\ud800":' + json.dumps(GOOD) + "}", "named"),
    "a nest": ('{"x":' * 100_000, "nests too deep"),
    "long digits": ('{"x":' + "9" * 10_000 + "}", "can't be read"),
    "no JSON": ("{x", "can't be read"),
    "no UTF-8": (b'{"\xff', "UTF-8"),
}


@pytest.mark.parametrize("name", TABLES)
def test_faulty_tables(tmp_path: Path, name: str) -> None:
    entries, words = TABLES[name]
    path = tmp_path / "x.safetensors"
    path.write_bytes(table(entries, 8))
    fails(path, words)


def test_a_length_that_lies(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for length, words in (
        (100_000_001, "100,000,001"),
        (2**63, "the limit is 100,000,000"),
        (50_000_000, "50,000,008"),
    ):
        path.write_bytes(struct.pack("<Q", length) + b'{"x":')
        fails(path, words)


MEGA = struct.pack("<i", -1).decode("latin-1")
PICKLES = {
    "a memo of gigabytes": (PROTO + b"K\x01r\xff\xff\xff\xff.", "memo"),
    "a text of terabytes": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 45) + b".", "can't be followed"),
    "an array of terabytes": (b"\x80\x05\x96" + struct.pack("<Q", 1 << 45) + b".", "can't be followed"),
    "a key that takes forever to hash": (PROTO + b"}K\x01" + b"2\x86" * 100 + b"K\x02s.", "holds no tensors"),
    "a shape that takes forever to print": (tensor_pickle(shape="K\x01" + "2\x86" * 100), "no whole number"),
    "a deep nest": (PROTO + b")" + b"\x85" * 100_000 + b".", "holds no tensors"),
    "too many steps": (PROTO + b"N" * 30_000 + b".", "steps"),
    "a list copied in many steps": (
        PROTO + b"(" + b"N" * 5_000 + b"lq\x01" + b"0ctorch\nSize\nh\x01\x85R" * 5 + b".",
        "20,000 steps",
    ),
    "a mapping copied in many steps": (
        PROTO + b"(" + b"))\x86" * 2_000 + b"lq\x01" + b"0cbuiltins\ndict\nh\x01\x85R" * 9 + b".",
        "20,000 steps",
    ),
    "a long name": (b"\x80\x04\x8c\x01aX\xd0\x07\x00\x00" + b"b" * 2000 + b"\x93.", "1000 characters"),
    "a negative size": (tensor_pickle(shape="J" + MEGA + "K\x03\x86"), "no whole number"),
    "a gigantic size": (tensor_pickle(shape="\x8a\x10" + "\x7f" * 16 + "K\x03\x86"), "no whole number"),
    "beyond its storage": (tensor_pickle(offset="K\x01"), "28 bytes"),
    "a gigantic stride": (tensor_pickle(stride="\x8a\x08" + "\x7f" * 8 + "K\x01\x86"), "needs"),
    "a gigantic offset": (tensor_pickle(offset="\x8a\x08" + "\x7f" * 8), "needs"),
    "a gigantic storage": (tensor_pickle(numel="\x8a\x07" + "\x7f" * 7), "24 are there"),
    "more strides than sizes": (tensor_pickle(stride="K\x01\x85"), "can't be followed"),
    "a key twice": (PROTO + b"}X\x01\x00\x00\x00aK\x01sX\x01\x00\x00\x00aK\x01s.", "'a' twice"),
    "an extension": (PROTO + b"\x82\x01.", "EXT1"),
    "an empty stack": (PROTO + b"R.", "can't be followed"),
    "no end": (PROTO + b"}", "can't be followed"),
    "a number": (PROTO + b"K\x01.", "holds no tensors"),
    "an object": (PROTO + b"cnet\nModel\n)\x81}b.", "net.Model"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_faulty_pickles(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, words = PICKLES[name]
    if "steps" in name:
        monkeypatch.setattr(pickles, "STEP_LIMIT", 20_000)
    fails(zipped(tmp_path / "x.bin", data, {"data/0": bytes(24)}), words)


def test_a_pickle_that_unpacks_to_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_files, "READ_LIMIT", 1 << 16)
    fails(zipped(tmp_path / "x", PROTO + b"N" * (1 << 17), packing=zipfile.ZIP_DEFLATED), "131,074", "65,536")
    agree(
        read_header(zipped(tmp_path / "y", tensor_pickle(), {"data/0": bytes(24)}, zipfile.ZIP_DEFLATED)),
        {"a": torch.zeros(2, 3)},
    )


def test_checksums_are_not_needed(tmp_path: Path) -> None:
    """torch.save can be told to write none, and torch.load asks for none; zipfile would refuse such a file."""
    torch.serialization.set_crc32_options(False)
    try:
        path = write(tmp_path / "x", "zip")
    finally:
        torch.serialization.set_crc32_options(True)
    agree(read_header(path), state())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_other_zips(tmp_path: Path) -> None:
    script = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), script)
    fails(script, "TorchScript")
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("a/readme", "hello")
    fails(tmp_path / "x", "neither safetensors nor a PyTorch file")
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("archive/data.pkl", tensor_pickle())
        archive.writestr("archive/data.pkl", tensor_pickle())
    (tmp_path / "x").write_bytes(twice.getvalue())
    fails(tmp_path / "x", "twice")


def test_what_is_no_weight_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    fails(path, "not there")
    fails(tmp_path, "is no file")
    for content in (b"", b"hello world", pickle.dumps({"a": 1}), b"<!DOCTYPE html><html>"):
        path.write_bytes(content)
        fails(path, f"({len(content):,} bytes) is neither safetensors nor a PyTorch file")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    fails(path, "git lfs pull")
    with pytest.raises(InputError, match="zero byte"):
        read_header("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    fails(tmp_path / "x", "is no file")
    fails(tmp_path / "x", "is no file", by=read_json)


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_random_bytes(tmp_path: Path) -> None:
    dice = random.Random(3)
    path = tmp_path / "x"
    starts = (b"", b"PK\x03\x04", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", b"\x40\0\0\0\0\0\0\0{")
    for turn in range(600):
        path.write_bytes(starts[turn % 4] + dice.randbytes(dice.randrange(600)))
        fails(path)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:invalid escape sequence")
def test_changed_bytes(tmp_path: Path, form: str) -> None:
    """Bytes changed in a valid file: a sentence, or a header that is what torch and safetensors read from the same
    file."""
    whole = write(tmp_path / "whole", form).read_bytes()
    first, last = 0, len(whole)
    if form == "safetensors":
        last = 8 + int.from_bytes(whole[:8], "little")
    elif form == "zip":
        first = whole.index(b"data.pkl") + 8
        last = whole.index(b"PK", first)
    path, dice, opened = tmp_path / "x", random.Random(4), 0
    for _ in range(400):
        changed = bytearray(whole)
        for _ in range(dice.choice((1, 1, 2, 5))):
            at = dice.randrange(first, last)
            changed[at] = dice.choice((dice.randrange(256), changed[dice.randrange(first, last)], changed[at] ^ 1))
        path.write_bytes(changed)
        try:
            header = read_header(path)
        except InputError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            continue
        opened += 1
        if form == "safetensors":
            with safe_open(path, "pt") as file:
                agree(header, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        elif not header.refused:
            try:
                values = torch.load(path, weights_only=True)
            except Exception:  # it looks at more than the shapes: device names, flags
                continue
            agree(header, values)
    assert opened > 5


def sharded(folder: Path, form: str) -> Path:
    """Two shards and their index."""
    folder.mkdir(exist_ok=True)
    stem, end = ("model", "safetensors") if form == "safetensors" else ("pytorch_model", "bin")
    weight_map: dict[str, str] = {}
    for number, names in ((2, ("b", "c")), (1, ("a",))):
        file = f"{stem}-0000{number}-of-00002.{end}"
        write(folder / file, form, {name: torch.zeros(number, 3) for name in names})
        weight_map |= dict.fromkeys(names, file)
    index(folder, form, {"metadata": {"total_size": 60}, "weight_map": weight_map})
    return folder


def index(folder: Path, form: str, values: Any) -> Path:
    path = folder / ("model.safetensors.index.json" if form == "safetensors" else "pytorch_model.bin.index.json")
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", ["safetensors", "zip"])
def test_a_folder_of_shards(tmp_path: Path, form: str) -> None:
    folder = sharded(tmp_path, form)
    headers = read_folder(folder)
    assert [header.path for header in headers] == weight_files(folder) == sorted(folder.glob("*-of-00002.*"))
    assert [list(header.tensors) for header in headers] == [["a"], ["b", "c"]]


def test_which_file_is_taken(tmp_path: Path) -> None:
    """In the order of preference; the less preferred ones are not looked at."""
    assert weight_files(tmp_path) == []
    fails(tmp_path, "no weights", "pytorch_model.bin.index.json", by=read_folder)
    write(tmp_path / "pytorch_model.bin", "zip")
    assert [file.name for file in weight_files(tmp_path)] == ["pytorch_model.bin"]
    sharded(tmp_path, "zip")
    assert [file.name for file in weight_files(tmp_path)] == [f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2)]
    write(tmp_path / "model.safetensors", "safetensors")
    assert [file.name for file in weight_files(tmp_path)] == ["model.safetensors"]
    agree(read_folder(tmp_path)[0], state())
    sharded(tmp_path, "safetensors")
    assert [file.name for file in weight_files(tmp_path)] == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    fails(tmp_path / "absent", "not a folder", by=weight_files)


def test_faulty_indexes(tmp_path: Path) -> None:
    folder = sharded(tmp_path, "safetensors")
    path, good = (
        folder / "model.safetensors.index.json",
        json.loads((folder / "model.safetensors.index.json").read_text()),
    )
    one, two = (file.name for file in weight_files(folder))

    def broken(weight_map: Any, *words: str) -> None:
        index(folder, "safetensors", weight_map if isinstance(weight_map, str) else {"weight_map": weight_map})
        with pytest.raises(InputError) as caught:
            read_folder(folder)
        assert str(path) in str(caught.value) and all(word in str(caught.value) for word in words), caught.value

    broken({**good["weight_map"], "d": one}, "4 tensors", "1 of which", f"'d' ({one})")
    broken({**good["weight_map"], "a": two}, f"'a' ({two})")
    broken({**good["weight_map"], "d": "model-3.safetensors"}, "3 files", "1 of which", "model-3.safetensors")
    for name in ("../x.safetensors", "/etc/passwd", "a/b", "..", "", "a\\b", "a\nb", 5, None):
        broken({"a": name}, "not the name of a file")
    for content in ("{}", '{"weight_map": {}}', '{"weight_map": ["a"]}', '{"weight_map": null}'):
        broken(content, '"weight_map"')
    broken("[]", "object")
    broken("{", "JSON")
    broken('{"weight_map": {"a": "x", "a": "y"}}', "'a' occurs twice")
    index(folder, "safetensors", good)
    write(folder / one, "safetensors", {"a": torch.zeros(1), "b": torch.zeros(1)})
    fails(folder, "'b'", one, two, by=read_folder)
    (folder / two).write_bytes(b"")
    fails(folder / two, "neither", by=lambda _: read_folder(folder))


def test_read_json(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    fails(path, "not there", by=read_json)
    for content in (b'{"a": [1, "\xc3\xa9"]}', b'\xef\xbb\xbf{"a": [1, "\xc3\xa9"]}'):
        path.write_bytes(content)
        assert read_json(path) == {"a": [1, "é"]}
    faults = {
        b"": "can't be read",
        b"[1]": "list",
        b'{"a"': "line 1",
        b'{"\xff": 1}': "UTF-8",
        b'{"a":' * 100_000: "too deep",
    }
    for content, words in faults.items():
        path.write_bytes(content)
        fails(path, words, by=read_json)


def test_it_costs_no_heavy_import() -> None:
    code = "import sys, llava_ecg.checkpoint.files.headers; heavy = 'torch numpy transformers safetensors'"
    code += "; print([m for m in heavy.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_golden_checkpoint(shared: Path) -> None:
    path = shared / "golden" / "tiny_gem_state.safetensors"
    with safe_open(path, "pt") as file:
        agree(read_header(path), {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
