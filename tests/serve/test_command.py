"""``llava-ecg serve``: what it refuses before a model is loaded, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from llava_ecg import cli
from llava_ecg.cli import serve
from llava_ecg.ecg.recording import Recording
from llava_ecg.serve import server
from llava_ecg.terminal import RESEARCH_USE
from tests.serve.running import NAME, asking, file_part, packed

KEY = "a-key-that-is-long"


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    def opener(*_: Any, **__: Any) -> Any:
        pytest.fail("a model was opened")

    try:
        code = cli.main(["serve", "--port", "0", *words], open_assistant=opener)
    except SystemExit as left:
        code = int(str(left.code))
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    return err.splitlines()[-1]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "ecg.example.org"])
def test_where_others_reach_it_a_key_is_needed(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"others reach {host}, so a key is needed: set LLAVA_ECG_API_KEY" in refused(capsys, "--host", host)


def test_keys_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    words = ("--api-key-file", str(file))
    assert "can't be read" in refused(capsys, *words)
    for text in ("short", "with a space in the midst", "ä" * 20, ""):
        file.write_text(text)
        file.chmod(0o600)
        assert "at least 16 letters" in refused(capsys, *words)
    file.write_text(f"{KEY}\n")
    file.chmod(0o644)
    assert "others may read the key" in refused(capsys, *words)
    file.chmod(0o600)
    assert server.key_of(file, {}) == KEY.encode() == server.key_of(None, {server.KEY_VARIABLE: KEY})
    assert server.key_of(None, {}) is None
    monkeypatch.setenv(server.KEY_VARIABLE, KEY)
    assert "give one of them" in refused(capsys, *words)


def test_a_port_that_is_taken_and_an_address_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit):
            cli.main(["serve", "--port", port, "--port", port])
        assert "given twice" in capsys.readouterr().err
        assert cli.main(["serve", "--port", port]) == 2
        assert f"can't listen on 127.0.0.1 port {port}" in capsys.readouterr().err
    assert cli.main(["serve", "--host", "localhost", "--port", "0", "--model", "/none"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "70000"], "port must be a whole number from 0 to 65535"),
        (["--batch", "0"], "batch must be a whole number from 1"),
        (["--max-seconds", "0"], "max-seconds must be a number from 0.01"),
        (["--api-key", KEY], "unrecognized arguments"),
    ],
)
def test_flags(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refused(capsys, *words)


def test_without_the_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    assert 'pip install "llava-ecg[serve]"' in refused(capsys)


def test_what_a_model_is_called(tiny: Path) -> None:
    assert (serve.name_of(str(tiny)), serve.name_of("gem-tiny"), serve.name_of("LANSG/GEM")) == (
        NAME,
        "gem-tiny",
        "LANSG/GEM",
    )


@contextmanager
def started(tiny: Path, *words: str) -> Iterator[tuple[Any, str]]:
    """The command, as a process of its own, and its address."""
    program = [sys.executable, "-m", "llava_ecg", "serve", "--model", str(tiny), "--port", "0", "--batch", "2", *words]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # a shell that runs the tests in its background has them ignore Ctrl-C, and whatever they start would too
    heeding: Any = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(program, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes, **heeding) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("tiny answers at http://127.0.0.1:") and RESEARCH_USE in line, line
            yield process, line.split()[3].rstrip(",").removesuffix("/v1")
        finally:
            process.kill()


@pytest.mark.parametrize(("grace", "sent", "code"), [("30", signal.SIGTERM, 0), ("0.3", signal.SIGINT, 130)])
def test_answers_finish_at_the_end_or_end_with_a_reason(
    tiny: Path, recordings: list[Recording], grace: str, sent: signal.Signals, code: int
) -> None:
    body = asking(file_part("a.npz", packed(recordings[0])), stream=True, max_tokens=3500)
    with started(tiny, "--grace", grace) as (process, address):
        with httpx.stream("POST", f"{address}/v1/chat/completions", json=body, timeout=60) as stream:
            events = (line.removeprefix("data: ") for line in stream.iter_lines() if line.startswith("data: "))
            first = [next(events) for _ in range(4)]
            assert all("chunk" in event for event in first)
            process.send_signal(sent)
            began = time.monotonic()
            rest = list(events)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/health")
        assert process.wait(30) == code
        _, err = process.communicate()
        assert (err.splitlines()[-1] == "stopped") == (code == 0) and "Traceback" not in err
        if grace == "30":
            assert rest[-1] == "[DONE]" and json.loads(rest[-2])["choices"][0]["finish_reason"] == "length"
        else:
            assert "about to stop" in json.loads(rest[-1])["error"]["message"] and time.monotonic() - began < 5
