"""The hub: a small one on this machine, with what can go wrong there, and the cache without it."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from llava_ecg.checkpoint.places import hub
from llava_ecg.checkpoint.places.hub import needed, snapshot
from llava_ecg.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
REPO = "org/gem"
COMMIT, OLDER = "a" * 40, "b" * 40
FILES = {
    "README.md": b"# GEM",
    "config.json": b'{"model_type": "llava_llama"}',
    "generation_config.json": b"{}",
    "tokenizer.model": b"pieces",
    "vocab.txt": b"words",
    "model.safetensors.index.json": b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": '
    b'"model-00002-of-00002.safetensors"}}',
    "model-00001-of-00002.safetensors": b"first" * 20,
    "model-00002-of-00002.safetensors": b"second" * 20,
    "pytorch_model.bin.index.json": b"{}",
    "pytorch_model-00001-of-00001.bin": b"the same again" * 20,
    "non_lora_trainables.bin": b"rest",
    "cpt_wfep_epoch_20.pt": b"tower",
    "modeling_gem.py": b"raise SystemExit",
    "training_args.bin": b"pickle",
    "optimizer.pt": b"pickle",
    "rng_state_0.pth": b"pickle",
    "consolidated.00.pth": b"the same once more",
    "checkpoint-500/model.safetensors": b"older",
    "global_step500/zero_pp_rank_0_mp_rank_00_optim_states.pt": b"pickle",
    "tf_model.h5": b"the same for somebody else",
}
FETCHED = {
    *("config.json", "generation_config.json", "tokenizer.model", "vocab.txt", "model.safetensors.index.json"),
    *(
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "non_lora_trainables.bin",
        "cpt_wfep_epoch_20.pt",
    ),
}


@dataclass
class Hub:
    """What the server gives: repository -> files, and what it refuses."""

    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=lambda: {REPO: FILES})
    refuses: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    """Last part of a path -> status and headers."""
    cuts: str = ""
    """A file that breaks off half way."""
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(path)
        for end, (status, headers) in self.refuses.items():
            if path.endswith(end):
                return status, headers, b""
        words = path.strip("/").split("/")
        listing = words[:2] == ["api", "models"]
        repo, rest = "/".join(words[2:4] if listing else words[:2]), words[4:] if listing else words[2:]
        if repo not in self.repos:
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        revision = unquote(rest[1]) if len(rest) > 1 else "main"
        if revision not in ("main", "v1", COMMIT):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        files = self.repos[repo]
        if listing:
            siblings = [{"rfilename": name, "size": len(content), "blobId": "0"} for name, content in files.items()]
            return 200, {}, json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode()
        content = files.get("/".join(rest[2:]))
        if content is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{sha1(content).hexdigest()}"'}, content


def served(hub: Hub) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = hub.answer(urlsplit(self.path).path)
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[: len(body) // 2] if hub.cuts and self.path.endswith(hub.cuts) else body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    return server


@pytest.fixture
def server() -> Iterator[Hub]:
    hub = Hub()
    running = served(hub)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield hub
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def fake(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The library in this process talks to the small hub and keeps its cache in a temporary folder."""
    use(server.url, tmp_path, monkeypatch)
    return server


def use(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    for name in (
        "HF_ENDPOINT",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def silent(_: str) -> None:
    """Takes progress."""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(words: str, name: str = REPO) -> str:
    with pytest.raises(InputError, match=words) as caught:
        snapshot(name, progress=silent)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"there is no folder {name!r}, and the Hugging Face hub (http")
    return message


# -- what arrives ------------------------------------------------------------------------------------------------------


def test_what_a_checkpoint_needs_and_nothing_else(fake: Hub) -> None:
    lines: list[str] = []
    folder = snapshot(REPO, progress=lines.append)
    assert contents(folder) == {name: FILES[name] for name in FETCHED}
    assert folder.name == COMMIT
    assert len(lines) == 1
    assert f"downloading org/gem from {fake.url}: 9 files, 0 MB" in lines[0]
    fake.asked.clear()
    assert snapshot(REPO, progress=lines.append) == folder
    assert (len(fake.asked), len(lines)) == (1, 1), "the second time asks for the listing alone"


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (
            ["pytorch_model.bin", "config.json", "tf_model.h5", "flax_model.msgpack"],
            ["pytorch_model.bin", "config.json"],
        ),
        (["model.safetensors", "pytorch_model.bin", "merges.txt", "a/b.json"], ["merges.txt", "model.safetensors"]),
        (
            ["adapter_model.bin", "config.json", "adapter_config.json", "non_lora_trainables.bin", "scheduler.pt"],
            ["adapter_model.bin", "non_lora_trainables.bin", "adapter_config.json", "config.json"],
        ),
        (["mm_projector.bin", "ecg_projector.bin", "trainer.py"], ["ecg_projector.bin", "mm_projector.bin"]),
        (
            [
                "streams.safetensors",
                "adapter/adapter_model.safetensors",
                "adapter/adapter_config.json",
                "adapter/README.md",
                "config.json",
            ],
            ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "streams.safetensors", "config.json"],
        ),
        (["encoder.safetensors", "tokenizer.model.v3"], ["tokenizer.model.v3", "encoder.safetensors"]),
        (["model.safetensors", "consolidated.safetensors", "original/consolidated.00.pth"], ["model.safetensors"]),
        (["model.gguf", "../model.safetensors", "adapter/../../config.json", "/etc/x.json", "a\\b.json"], []),
    ],
)
def test_needed(files: list[str], wanted: list[str]) -> None:
    """Weights behind the settings, and the config last: a folder without it was interrupted."""
    assert needed(files) == wanted


def test_a_revision(fake: Hub) -> None:
    assert contents(snapshot(f"{REPO}@v1", progress=silent)).keys() == FETCHED
    assert snapshot(f"{REPO}@{COMMIT}", progress=silent).name == COMMIT
    assert fake.asked[0] == f"/api/models/{REPO}/revision/v1"


def test_a_later_commit_shares_what_is_the_same(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = snapshot(REPO, progress=silent)
    monkeypatch.setitem(globals(), "COMMIT", OLDER)
    second = snapshot(REPO, progress=silent)
    assert (second.name, contents(second)) == (OLDER, contents(first))


# -- without the hub ---------------------------------------------------------------------------------------------------


def test_offline_takes_the_cache(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    folder = snapshot(REPO, progress=silent)
    fake.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert snapshot(REPO) == snapshot(f"{REPO}@{COMMIT}") == folder
    assert not fake.asked
    refused("HF_HUB_OFFLINE is set, and the cache does not hold it whole", f"{REPO}@v1")


@pytest.mark.parametrize("status", [401, 404, 500])
def test_no_answer_takes_the_cache_and_says_so(fake: Hub, status: int) -> None:
    folder = snapshot(REPO, progress=silent)
    fake.refuses["/revision/main"] = status, {}
    lines: list[str] = []
    assert snapshot(REPO, progress=lines.append) == folder
    assert len(lines) == 1
    assert f"using the copy of org/gem in {folder}" in lines[0]
    assert str(status) in lines[0]


@pytest.mark.parametrize("lost", ["config.json", "model-00002-of-00002.safetensors", "model.safetensors.index.json"])
def test_half_a_copy_is_none(fake: Hub, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    from huggingface_hub import constants

    folder = snapshot(REPO, progress=silent)
    (folder / lost).unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("HF_HUB_OFFLINE is set, and the cache does not hold it whole")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert contents(snapshot(REPO, progress=silent)).keys() == FETCHED


def test_an_interrupted_download_goes_on(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    fetch = huggingface_hub.hf_hub_download

    def interrupted(repo: str, file: str, **options: Any) -> str:
        if file == "model-00002-of-00002.safetensors":
            raise KeyboardInterrupt
        return fetch(repo, file, **options)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        snapshot(REPO, progress=silent)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("the cache does not hold it whole", f"{REPO}@{COMMIT}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    fake.asked.clear()
    assert contents(snapshot(REPO, progress=silent)).keys() == FETCHED
    assert not [path for path in fake.asked if path.endswith("model-00001-of-00002.safetensors")]


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    use(f"http://127.0.0.1:{port}", tmp_path, monkeypatch)
    refused(
        r"can't be reached.*Connection refused.*check the network and try again, "
        r"or download it elsewhere and give the folder"
    )


def test_an_endpoint_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use("hub.example.org", tmp_path, monkeypatch)
    monkeypatch.setenv("HF_ENDPOINT", "hub.example.org")
    with pytest.raises(
        InputError, match=r"hub \(hub.example.org\) did not give it: .*check the network and HF_ENDPOINT and try again"
    ):
        snapshot(REPO, progress=silent)


def test_somebody_who_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is taken and left: the wait is bounded by the library's timeout, or by ours where it has
    none."""
    from huggingface_hub import HfApi, constants

    with socket.create_server(("127.0.0.1", 0)) as mute:
        use(f"http://127.0.0.1:{mute.getsockname()[1]}", tmp_path, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
        refused("can't be reached, or the connection broke .*time")
        asked = HfApi.model_info

        def forever(*arguments: Any, **options: Any) -> Any:
            return asked(*arguments, **options | {"timeout": 20})

        monkeypatch.setattr(HfApi, "model_info", forever)
        monkeypatch.setattr(hub, "_GRACE", 0.2)
        refused("no answer within 0.4 s")


# -- what the hub refuses ----------------------------------------------------------------------------------------------

LISTING = "/revision/main"


@pytest.mark.parametrize(
    ("end", "status", "code", "words"),
    [
        (
            LISTING,
            404,
            "RepoNotFound",
            "no public model of that name is there; check the name, or, if it is private, set HF_TOKEN or run: hf auth",
        ),
        (LISTING, 404, "", "it answers with HTTP 404; look at http.*/org/gem$"),
        (LISTING, 401, "RepoNotFound", "no public model of that name is there"),
        (LISTING, 401, "", "it wants a token .HTTP 401.; set HF_TOKEN or run: hf auth login"),
        (
            LISTING,
            403,
            "GatedRepo",
            "it is gated; accept its terms on http.*/org/gem, then set HF_TOKEN or run: hf auth login",
        ),
        (LISTING, 404, "RevisionNotFound", "it has no revision 'main'; give one of the branches"),
        (LISTING, 503, "", "overloaded or down .HTTP 503.; try again later"),
        (LISTING, 429, "", "overloaded or down .HTTP 429."),
        (LISTING, 418, "", "it answers with HTTP 418"),
        ("config.json", 403, "GatedRepo", "it is gated; accept its terms"),
        ("config.json", 403, "", "it wants a token .HTTP 403."),
        ("config.json", 404, "EntryNotFound", "it answers with HTTP 404"),
    ],
)
def test_refused(fake: Hub, end: str, status: int, code: str, words: str) -> None:
    fake.refuses[end] = status, {"X-Error-Code": code} if code else {}
    refused(words)


def test_a_token_that_is_refused(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_stale")
    fake.refuses[LISTING] = 401, {"X-Error-Message": "Invalid credentials in Authorization header"}
    assert "hf_stale" not in refused("it refuses the token in use .HTTP 401.; set HF_TOKEN or run: hf auth login")


def test_unknown_names(fake: Hub) -> None:
    refused("no public model of that name", "org/gme")
    refused(
        "it has no revision 'v2'; give one of the branches, tags or commits of http.*/org/gem/tree/main", f"{REPO}@v2"
    )
    refused("no revision stands behind the @", f"{REPO}@")
    refused("no revision can be called '../../etc'", f"{REPO}@../../etc")
    refused("no repository can have that name", "org/a--b")
    refused("no repository can have that name", "a/b/c")


def test_nothing_for_us(fake: Hub) -> None:
    fake.repos["org/gguf"] = {"README.md": b"", "q4.gguf": b"GGUF", "config.json": b"{}"}
    fake.repos["org/empty"] = {}
    refused(
        r"no weights of a checkpoint in it \(it holds README.md, config.json, q4.gguf\); give a repository with",
        "org/gguf",
    )
    refused(r"no weights of a checkpoint in it \(it is empty\)", "org/empty")
    assert all("/resolve/" not in path for path in fake.asked)


def test_an_answer_that_is_none(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The login page of a hotel."""
    monkeypatch.setattr(fake, "answer", lambda path: (200, {}, b"<html>Sign in</html>"))
    refused("can't be reached, or the connection broke")


# -- what the disk refuses ---------------------------------------------------------------------------------------------


def test_too_little_room_is_seen_before_the_download(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    refused(r"it needs 0 MB in .*hub, where 0 MB are free; make room, or set HF_HOME to a folder on another disk")
    assert all("/resolve/" not in path for path in fake.asked)


def test_a_disk_that_fills_up(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def full(*_: Any, **__: Any) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    refused("the disk of .*hub is full; make room, or set HF_HOME")


def test_a_cache_that_can_not_be_written(fake: Hub, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("in the way")
    refused("the cache .*hub can't be written .*make it writable, or set HF_HOME")


def test_a_connection_that_breaks(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # the library waits before it tries again
    fake.cuts = "model-00002-of-00002.safetensors"
    refused("the connection broke")
    fake.cuts = ""
    assert contents(snapshot(REPO, progress=silent)).keys() == FETCHED


# -- as people call it -------------------------------------------------------------------------------------------------


def test_the_environment_is_the_librarys(server: Hub, tmp_path: Path) -> None:
    """In a process of its own, by the public door: HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE count, and no torch is
    loaded."""
    script = (
        "import sys; from llava_ecg.checkpoint.places.find import find; print(find(sys.argv[1])); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    settings = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "no_proxy": "127.0.0.1"}
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}

    def run(name: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, name]
        return subprocess.run(
            command, env=keep | settings | more, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )

    first = run(REPO)
    assert first.returncode == 0, first.stderr
    folder = Path(first.stdout.strip())
    assert folder.is_relative_to(tmp_path / "home" / "hub")
    assert contents(folder).keys() == FETCHED
    asked = len(server.asked)
    assert run(REPO, HF_HUB_OFFLINE="1").stdout == first.stdout
    assert len(server.asked) == asked
    assert (
        "InputError: there is no folder 'org/gme', and the Hugging Face hub" in run("org/gme").stderr.splitlines()[-1]
    )


def test_progress_can_not_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hub._on_stderr("org/x\x1b[2J\u202e and\nmore\tÄ")
    assert capsys.readouterr().err == "org/x\\x1b[2J\\u202e and\\nmore\\tÄ\n"
