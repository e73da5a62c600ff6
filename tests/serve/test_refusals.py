"""What is refused, in one sentence and OpenAI's shape; and the server goes on."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import httpx
import openai
import pytest

from llava_ecg.case import Decoding
from llava_ecg.ecg.recording import Recording
from llava_ecg.serve import wire
from llava_ecg.serve.limits import Limits, Refused
from tests.serve.running import NAME, Running, asking, data_url, file_part, image_part, packed

TEXT: Any = {"type": "text", "text": "Rate?"}


def wanted(**given: Any) -> wire.Wanted:
    body = {"model": NAME, "messages": [{"role": "user", "content": "Rate?"}]} | given
    body = {name: value for name, value in body.items() if value is not ...}
    return wire.wanted(json.dumps(body).encode(), NAME, Decoding(seed=5, top_k=4), 500, Limits())


def refused(**given: Any) -> Refused:
    with pytest.raises(Refused) as found:
        wanted(**given)
    sentence = found.value.message
    assert found.value.status in (400, 404) and "\n" not in sentence and len(sentence) < 250
    return found.value


@pytest.mark.parametrize(
    ("given", "param", "said"),
    [
        ({"model": ...}, "model", 'give "model": "tiny"'),
        ({"model": "gpt-9"}, "model", "is not served here"),
        ({"n": 2}, "n", "one answer"),
        ({"n": True}, "n", "one answer"),
        ({"stream": 1}, "stream", "true or false"),
        ({"stream_options": {"include_usage": True}}, "stream_options", 'with "stream": true'),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options", "include_usage"),
        ({"temprature": 1}, "temprature", "did you mean temperature?"),
        ({"best_of": 2}, "best_of", "unknown parameter"),
        ({"tools": [{"type": "function"}]}, "tools", "not supported"),
        ({"logprobs": True}, "logprobs", "not supported"),
        ({"presence_penalty": 0.5}, "presence_penalty", "not supported"),
        ({"frequency_penalty": True}, "frequency_penalty", "not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format", "not supported"),
        ({"logit_bias": {"5": 10}}, "logit_bias", "not supported"),
        ({"reasoning_effort": "low"}, "reasoning_effort", "not supported"),
        ({"temperature": -1}, "temperature", "from 0 to 100"),
        ({"temperature": "1"}, "temperature", "a number"),
        ({"temperature": True}, "temperature", "a number"),
        ({"top_p": 0}, "top_p", "from 1e-06 to 1"),
        ({"max_tokens": 0}, "max_tokens", "from 1 to 500"),
        ({"max_completion_tokens": 501}, "max_completion_tokens", "from 1 to 500"),
        ({"max_tokens": 2.5}, "max_tokens", "a whole number"),
        ({"max_tokens": 2, "max_completion_tokens": 2}, "max_tokens", "give one"),
        ({"seed": -1}, "seed", "from 0"),
        ({"top_k": 5, "temperature": 0}, "top_k", "nothing is drawn"),
        ({"stop": ["a"] * 5}, "stop", "at most 4"),
        ({"stop": [""]}, "stop", "1 to 200"),
        ({"stop": [1]}, "stop", "1 to 200"),
        ({"messages": ...}, "messages", "a list"),
        ({"messages": []}, "messages", "at least one"),
        ({"messages": ["hello"]}, "messages[0]", "needs a role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]", "needs a role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0]", "needs a role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "a text or a list"),
        ({"messages": [{"role": "user", "content": "x", "name": "Ann"}]}, "messages[0].name", "not supported"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages", "has no text"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages", "begins with the user"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages", "begins with the user"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
            "messages",
            "ends with the user",
        ),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]},
            "messages",
            "before all others",
        ),
        ({"messages": [{"role": "user", "content": "x"}] * 257}, "messages", "257 messages"),
        ({"messages": [{"role": "user", "content": "x" * 20_001}]}, "messages[0].content[0]", "20,001 characters"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]", "no part"),
        ({"messages": [{"role": "user", "content": [7]}]}, "messages[0].content[0]", "no part"),
        (
            {"messages": [{"role": "user", "content": [TEXT, *[file_part("a.npy", b"1")] * 17]}]},
            "messages",
            "at most 16",
        ),
        (
            {"messages": [{"role": "system", "content": [file_part("a.npy", b"1")]}]},
            "messages[0].content[0]",
            "messages of the user",
        ),
    ],
)
def test_a_request_that_asks_for_what_there_is_not(given: Any, param: str, said: str) -> None:
    found = refused(**given)
    assert found.param == param and said in found.message, found


def test_words_of_a_request_steer_no_terminal() -> None:
    """Found by `scripts/fuzz.py`."""
    found = refused(**{"wi\x7fdth\x1b[2J\n": 1})
    assert found.message.isprintable() and "wi\\x7fdth\\x1b[2J\\n" in found.message, found


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/x.png",
        "https://example.org/a.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,%%%",
        "data:text/html;base64,aaaa",
        5,
        None,
    ],
)
def test_no_address_is_fetched_and_no_path_opened(url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("it reached for the network"))
    monkeypatch.setattr("pathlib.Path.open", lambda *_: pytest.fail("it opened a file"))
    picture = {"type": "image_url", "image_url": {"url": url}}
    found = refused(messages=[{"role": "user", "content": [picture, TEXT]}])
    assert found.param == "messages[0].content[0]"
    if isinstance(url, str) and not url.startswith("data:"):
        assert "addresses are not fetched and paths not opened" in found.message
        file = {"type": "file", "file": {"file_data": url, "filename": "a.png"}}
        assert refused(messages=[{"role": "user", "content": [file, TEXT]}]).status == 400


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ({"file_id": "file-1"}, "stored files are not known"),
        ({"file_data": "data:a,b", "colour": 1}, "has no 'colour'"),
        ({"file_data": "data:a,b", "rate": "fast"}, "rate is of the wrong type"),
        ({"file_data": "data:a,b", "rate": True}, "rate is of the wrong type"),
        ({"file_data": "data:a,b", "filename": 3}, "filename is a text"),
        ({"file_data": "data:a,b", "filename": ".."}, "no plain name"),
        ({"file_data": "data:a,b", "filename": "a/.hidden"}, "no plain name"),
        ({"file_data": "data:a,b", "filename": "a\x00b"}, "no plain name"),
        ({"file_data": "data:a,b", "filename": "a" * 200}, "no plain name"),
        ("x", "takes a filename and file_data"),
    ],
)
def test_a_file_part_that_is_none(file: Any, said: str) -> None:
    assert said in refused(messages=[{"role": "user", "content": [{"type": "file", "file": file}, TEXT]}]).message


def test_what_is_taken() -> None:
    found = wanted(
        user="u", metadata={"a": "b"}, logprobs=False, tools=[], n=1, presence_penalty=0.0, top_logprobs=None
    )
    assert (found.decoding, found.stream, found.audit) == (
        Decoding(seed=5, top_k=4, max_new_tokens=256),
        False,
        False,
    )
    assert [wanted(stop=given).decoding.stop for given in (None, "a", ["b", "c"])] == [(), ("a",), ("b", "c")]
    part = {"type": "file", "file": {"filename": "C:\\ecgs\\a.csv", "file_data": "data:,I%20II", "rate": 500}}
    said = wanted(messages=[{"role": "user", "content": [part, TEXT]}]).said
    assert [(each.name, each.content, each.reading) for each in said[0].attached] == [("a.csv", b"I II", {"rate": 500})]


@pytest.mark.parametrize("pieces", [["a ", " \n", "b", " c  ", "\n"], [" ", "\t"], ["ab\n"], ["a", "", "b"]])
def test_pieces_end_as_a_whole_answer_does(pieces: list[str]) -> None:
    trimmed = wire.Trimmed()
    told = [trimmed.feed(piece) for piece in pieces]
    assert "".join(told) == "".join(pieces).rstrip() and told[0] == pieces[0].rstrip()


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"model": NaN}', b'{"n": ' + b"9" * 5000 + b"}"]
)
def test_malformed_json(body: bytes, running: Running) -> None:
    found = running.post(body)
    error = found.json()["error"]
    assert (found.status_code, error["type"], error["code"]) == (400, "invalid_request_error", "invalid_json")
    assert running.get("/health").status_code == 200


def test_errors_come_as_the_clients_know_them(running: Running, recordings: list[Recording]) -> None:
    client = openai.OpenAI(base_url=f"{running.address}/v1", api_key="none", max_retries=0)
    given: Any = asking(file_part("a.npz", packed(recordings[0])))
    with pytest.raises(openai.BadRequestError, match="did you mean temperature") as found:
        client.chat.completions.create(**given, extra_body={"temprature": 1})
    assert (found.value.param, found.value.code) == ("temprature", "unknown_parameter")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**given | {"model": "gpt-9"})
    other = running.get("/v1/nothing")
    assert (other.status_code, other.json()["error"]["type"]) == (404, "invalid_request_error")
    assert running.get("/v1/chat/completions").json()["error"]["message"] == "this path takes another method"
    plain = httpx.post(f"{running.address}/v1/chat/completions", content=json.dumps(given), headers={})
    assert plain.status_code == 415, "what a page of the web may send without asking"


def png(wide: int, high: int) -> bytes:
    """The head of an image that says to be so large, and is not."""

    def piece(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = piece(b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + piece(b"IDAT", zlib.compress(b"\0" * 99)) + piece(b"IEND", b"")


@pytest.mark.parametrize(
    ("part", "said", "code"),
    [
        (image_part(png(100_000, 100_000)), "too many pixels", "image_too_large"),
        (image_part(png(9_000, 9_000)), "9000 x 9000 pixels; it has to be smaller than 40 million", "image_too_large"),
        (image_part(png(9, 9)), "too few to show an ECG", "unreadable_input"),
        (image_part(b"none"), "the page is not an image", "unreadable_input"),
        (image_part(png(400, 400)[:60]), "can't be read as an image", "unreadable_input"),
        (file_part("a.npy", b"none"), "a.npy", "unreadable_input"),
        (file_part("a.dcm", b"none"), "a.dcm", "unreadable_input"),
        (file_part("../../etc/a.hea", b"a 12 500 5000\n"), "a.hea", "unreadable_input"),
        (TEXT, "nothing to ask about", "nothing_to_see"),
    ],
)
def test_what_can_not_be_read_fails_alone(part: Any, said: str, code: str, running: Running) -> None:
    for stream in (False, True):
        found = running.post(asking(part, stream=stream))
        error = found.json()["error"]
        assert (found.status_code, error["code"]) == (400, code) and said in error["message"], error
        assert "/tmp" not in error["message"] and "llava-ecg-" not in error["message"]
    running.waits_for(lambda: running.service.tickets == 0)


def test_an_image_is_nothing_to_a_model_that_sees_signals(running: Running) -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(buffer, "PNG")
    found = running.post(asking(image_part(buffer.getvalue())))
    assert (
        found.status_code == 400 and "takes ecg, and the question came with image" in found.json()["error"]["message"]
    )


def test_a_conversation_that_is_too_long_fails_alone(running: Running, recordings: list[Recording]) -> None:
    part = file_part("a.npz", packed(recordings[0]))
    found = running.post(asking(part, text="x " * 4000))
    assert found.status_code == 400 and "tokens and the model reads" in found.json()["error"]["message"]
    assert running.post(asking(part)).status_code == 200


def test_nobody_is_named_in_the_log(running: Running, recordings: list[Recording]) -> None:
    name, body = "Jane_Doe_1950.npz", packed(recordings[0])
    running.post(asking(file_part(name, body), text="Is Jane Doe well?", user="Jane Doe"))
    running.post(asking(file_part(name, b"Jane"), text="Is Jane Doe well?"))
    running.get("/v1/models?patient=Jane")
    running.get("/Jane/Doe?name=Jane")
    running.waits_for(lambda: "GET other 404" in running.lines[-1])
    assert len(running.lines) >= 4 and not [line for line in running.lines if "Jane" in line or "Doe" in line]
    assert any(line.startswith("POST /v1/chat/completions 200 in ") and "tokens" in line for line in running.lines)
    assert "Jane" not in running.get("/metrics").text
    assert data_url(b"x") not in "".join(running.lines)
