"""The remote writer against a scripted server: what it sends, keeps, pays, and does when the server misbehaves."""

from __future__ import annotations

import json
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="needs the openai package, which the extra [remote] brings")

from llava_ecg.cli import main
from llava_ecg.errors import InputError
from llava_ecg.instruct.budget import Budget, Limits, Reserved, StoppedError
from llava_ecg.instruct.chunks import Chunk, Part
from llava_ecg.instruct.engines import Threads
from llava_ecg.instruct.facts import Facts
from llava_ecg.instruct.guide import guide
from llava_ecg.instruct.phrases import Voice
from llava_ecg.instruct.prompting import UnusableError, composed, dossier
from llava_ecg.remote import BusyError, Endpoint, check_url

from .made import HEARTS, save
from .scripted import (
    Scripted,
    Step,
    closes,
    facts,
    fails,
    good,
    hangs,
    raw,
    says,
    serving,
    trickles,
    wrong,
)

KEY = "sk-loopback-4711-secret"
PATIENTS = {"normal": "Mustermann", "lbbb": "Doe"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("remote")
    rows = ["record,patient,report,snomed,sex,age"]
    for name, said in (("normal", "sinus rhythm. normal ecg"), ("lbbb", "")):
        save(place, name, HEARTS[name], seed=2)
        rows.append(f"{name}.npz,{PATIENTS[name]},{said},{'164909002' if name == 'lbbb' else ''},male,71")
    (place / "records.csv").write_text("\n".join(rows) + "\n")
    return place


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, without waiting."""
    found: list[float] = []

    def wait(budget: Budget, seconds: float) -> None:
        found.append(seconds)
        if budget._stop.is_set():
            raise StoppedError(budget._why)

    monkeypatch.setattr(Budget, "wait", wait)
    return found


Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pauses: list[float],
) -> Run:
    """Runs the command; its exit code, and its JSON with ``err``."""

    def run(server: Scripted, *more: str, out: str = "a.jsonl") -> tuple[int, dict[str, Any]]:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        own = {"--records": place / "records.csv", "--out": tmp_path / out, "--facts": place / "facts", "--val": 0}
        own |= {"--writer": "remote", "--endpoint": server.url, "--model": "m", "--cache": tmp_path / "cache"}
        words = [str(word) for pair in ({"--at_once": 1} | own).items() if pair[0] not in more for word in pair]
        code = main(["instruct", "--json", *words, *more])
        shown = capsys.readouterr()
        for text in (shown.out, shown.err, *(path.read_text() for path in tmp_path.rglob("*.json*"))):
            assert KEY not in text
        return code, {**(json.loads(shown.out) if shown.out else {}), "err": shown.err}

    return run


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("protocol", ["gem", "six-step"])
def test_from_a_recording_to_a_line(protocol: str, place: Path, tmp_path: Path, run: Run) -> None:
    with serving(says(good)) as server:
        code, found = run(server, "--protocol", protocol)
    assert code == 0 and found["lines"] == {"train": 2} and found["audit"]["contradicted"] == 0
    assert found["remote"]["requests"] == 2 and found["remote"]["tokens_in"] == 1800
    for each in lines(tmp_path / "a.jsonl"):
        source = each["provenance"]
        assert (source["writer"], source["model"], source["attempts"], source["seed"]) == ("remote", "m", 1, 0)
        assert source["prompt"].startswith("prompts 1 ") and protocol in source["prompt"] and source["facts"]
        assert source["audit"]["supported"] >= 3 and source["sources"]
        answer = each["conversations"][1]["value"]
        if protocol == "six-step":
            assert [line[:2] for line in answer.split("\n")] == [f"{number}." for number in range(1, 7)]
        label = {"normal.npz": "sinus rhythm", "lbbb.npz": "left bundle branch block"}[each["ecg"]]
        assert (f"**{label}**" if protocol == "six-step" else label) in answer
    assert main(["validate", str(tmp_path / "a.jsonl"), "--ecg_folder", str(place), "--processes", "1"]) == 0
    assert all(each["authorization"] == f"Bearer {KEY}" for each in server.headers)
    sent = json.dumps(server.asked)
    assert not [word for word in (*PATIENTS.values(), "normal.npz", "164909002", "normal ecg.") if word in sent]


def test_age_and_sex_are_sent_only_where_the_question_tells_them(run: Run, tmp_path: Path) -> None:
    with serving(says(good)) as server:
        for seed in range(4):
            run(server, "--seed", str(seed), out=f"{seed}.jsonl")
    told = [("age" in facts(each), "71" in each["messages"][1]["content"].split("\n")[0]) for each in server.asked]
    assert len(set(told)) == 2 and all(in_facts == in_question for in_facts, in_question in told)


def test_what_is_contradicted_is_sent_back_with_the_reasons(run: Run, tmp_path: Path) -> None:
    with serving(says(good), says(wrong)) as server:
        code, found = run(server, "--limit", "1")
    assert code == 0 and found["refused"] == {"contradicted": 1} and found["drafts"] == 2
    [line] = lines(tmp_path / "a.jsonl")
    assert line["provenance"]["attempts"] == 2
    first, second = server.asked
    assert second["messages"][:2] == first["messages"] and second["messages"][2]["role"] == "assistant"
    rate = facts(first)["measured"]["heart_rate_bpm"]
    assert f"{rate + 60} bpm claimed" in second["messages"][3]["content"] and second["seed"] != first["seed"]


def test_what_stays_contradicted_is_dropped_and_set_aside(run: Run, tmp_path: Path) -> None:
    with serving(says(wrong)) as server:
        code, found = run(server, "--limit", "1", "--attempts", "3")
    assert code == 0 and len(server.asked) == 3 and found["given_up"] == {"interpretation": 1}
    assert not lines(tmp_path / "a.jsonl")
    [aside] = lines(tmp_path / "a.setaside.jsonl")
    assert aside["task"] == "interpretation" and "claimed" in aside["reasons"][0]


def _with(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda asked: json.dumps({**json.loads(good(asked)), **changes})


def _added(sentence: str) -> Callable[[dict[str, Any]], str]:
    def write(asked: dict[str, Any]) -> str:
        found = json.loads(good(asked))
        return json.dumps({**found, "paragraph": f"{found['paragraph']} {sentence}"})

    return write


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("Certainly! Here is the interpretation.", "no JSON of the schema"),
        (lambda asked: good(asked)[:-20], "no JSON of the schema"),  # cut off in the middle
        ("[1, 2]", "no JSON of the schema"),
        (_with(more="x"), "no JSON of the schema"),
        (_with(paragraph=["x"]), "no JSON of the schema"),
        (_with(paragraph="one\n\ntwo"), "no JSON of the schema"),
        (_with(paragraph="\x1b[2J one"), "no JSON of the schema"),
        (_with(labels=["left bundle branch block"]), "nothing bears it out"),
        (_with(labels=[]), "not by the protocol"),
        (_added("There is a right bundle branch block."), "contradicted"),
        (_added("Pericarditis is present."), "nothing bears it out"),
        (_added("See <image> for more."), "a placeholder was left"),
        (_added("The report says so."), "it speaks of the report"),
    ],
)
def test_what_is_no_answer_is_sent_back(content: Any, kind: str, run: Run, tmp_path: Path) -> None:
    with serving(says(good), says(content)) as server:
        code, found = run(server, "--limit", "1")
    assert code == 0 and found["refused"] == {kind: 1} and len(lines(tmp_path / "a.jsonl")) == 1
    assert "is not accepted" in server.asked[1]["messages"][3]["content"]


def test_what_no_measurement_settles_is_at_most_compatible(hearts: dict[str, Facts]) -> None:
    voice = Voice(hearts["injury"], random.Random(0))
    known = dossier(guide(), voice)
    assert "myocardial infarction" in known.compatible and "ST elevation" in known.sure

    def write(last: str) -> str:
        found = {
            "paragraph": f"The rate is 80 bpm. There is {' and '.join(known.sure)}. {last}",
            "labels": [*known.sure],
        }
        return composed(found, "gem", known, voice)

    assert write("This is compatible with myocardial infarction.").endswith("infarction.")
    assert write("There is no pericarditis.")
    for last in ("This is a myocardial infarction.", "Pericarditis is possible.", "There is pericarditis."):
        with pytest.raises(UnusableError, match="bears it out|is not more than compatible"):
            write(last)


def test_exclusions_are_of_the_guide_and_labels_are_marked_once(hearts: dict[str, Facts]) -> None:
    voice = Voice(hearts["lbbb"], random.Random(0))
    known = dossier(guide(), voice)
    labels = [*known.sure]
    steps = ["The rate is 76 bpm.", *["This can not be judged here."] * 4]
    found = {"steps": steps, "conclusion": f"There is {' and '.join(labels)}.", "labels": labels, "exclusions": []}
    [first, *_] = known.excluded
    text = composed({**found, "exclusions": [{"diagnosis": first, "evidence": "x"}]}, "six-step", known, voice)
    assert text.count("**") == 2 * len(labels) and first in text.split("\n")[5]
    with pytest.raises(UnusableError, match="'pericarditis' is not among the excluded"):
        composed({**found, "exclusions": [{"diagnosis": "pericarditis", "evidence": "x"}]}, "six-step", known, voice)
    with pytest.raises(UnusableError, match="4 steps and not 5"):
        composed({**found, "steps": steps[:4]}, "six-step", known, voice)


def test_the_evidence_comes_first(run: Run, tmp_path: Path) -> None:
    def late(asked: dict[str, Any]) -> str:
        found = json.loads(good(asked))
        return json.dumps({**found, "paragraph": " ".join(reversed(found["paragraph"].split(". ")))})

    with serving(says(good), says(late)) as server:
        _, found = run(server, "--limit", "1")
    assert found["refused"] == {"not by the protocol": 1}
    assert "before the evidence" in server.asked[1]["messages"][3]["content"]


BUSY = [
    (fails(429, Retry_After="7"), 0),
    (fails(500), 0),
    (fails(503, "x" * 10_000), 0),
    (raw(b"<html>gateway</html>"), 1),
    (raw(b'{"choices": [{"message": {"conte'), 1),
    (raw(b'{"choices": []}'), 1),
    (closes, 1),
    (hangs, 1),
    (trickles, 1),
    (raw(b" " * 2_100_000), 1),
    (says(f"the key is {KEY}"), 1),
]


@pytest.mark.parametrize(("step", "billed"), BUSY)
def test_a_server_that_misbehaves_is_asked_again(
    step: Step, billed: int, run: Run, tmp_path: Path, pauses: list[float]
) -> None:
    """And what may have been charged for all the same counts as the most that it could have cost."""
    with serving(says(good), step) as server:
        code, found = run(server, "--limit", "1", "--timeout", "0.5")
    assert code == 0 and len(server.asked) == 2 and server.asked[0] == server.asked[1]
    [line] = lines(tmp_path / "a.jsonl")
    assert line["provenance"]["attempts"] == 1 and found["remote"]["requests"] == 2
    assert (found["remote"]["tokens_out"] == 1300) if billed else (found["remote"]["tokens_out"] == 100)
    [pause] = [each for each in pauses if each > 0]
    assert 7 <= pause <= 10.5 if step is BUSY[0][0] else 1 <= pause <= 1.5


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (hangs, "no answer within 0.4 s"),
        (trickles, "no whole answer within 0.4 s"),
        (raw(b" " * 2_100_000), "an answer of more than 2000000 bytes"),
        (closes, "the answer broke off|no connection|no chat completion"),
        (says(f"the key is {KEY}"), "the answer holds the key"),
        (fails(529, f"busy, {KEY}\n\n{'x' * 900}"), r"^status 529: busy, \[key\] x{150,190}$"),
    ],
)
def test_why_there_is_no_answer(step: Step, said: str) -> None:
    with serving(says("x"), step) as server, pytest.raises(BusyError, match=said):
        Endpoint(server.url, "m", KEY, timeout_s=0.4).ask([{"role": "user", "content": "x"}], {})


def test_pauses_grow(run: Run, pauses: list[float]) -> None:
    with serving(says(good), *[fails(500)] * 4) as server:
        assert run(server, "--limit", "1")[0] == 0
    found = [each for each in pauses if each > 0]
    assert len(found) == 4 and all(2**n <= each <= 1.5 * 2**n for n, each in enumerate(found))


def test_one_that_is_never_answered_is_a_failure(run: Run, tmp_path: Path) -> None:
    with serving(says(good), fails(500), fails(500)) as server:
        code, found = run(server, "--retries", "1")
    assert code == 0 and len(server.asked) == 3 and (found["failures"], found["lines"]) == (1, {"train": 1})
    assert [each["reason"] for each in lines(tmp_path / "a.failures.jsonl")] == ["status 500: no"]


def test_three_in_a_row_without_an_answer_end_the_run_and_lose_nothing(run: Run, place: Path, tmp_path: Path) -> None:
    rows = (place / "records.csv").read_text().splitlines()
    more = place / "three.csv"
    save(place, "slow", HEARTS["slow"], seed=2)
    more.write_text("\n".join([*rows, "slow.npz,p3,,,female,40"]) + "\n")
    with serving(fails(502, "bad gateway")) as server:
        code, found = run(server, "--records", str(more), "--retries", "0")
        assert code == 1 and "no answer to 3 requests in a row, the last time: status 502: bad gateway" in found["err"]
        assert "the same command goes on there" in found["err"] and not list(tmp_path.glob("a.*jsonl"))
        server.otherwise = says(good)
        assert run(server, "--records", str(more), "--retries", "0")[1]["lines"] == {"train": 3}


@pytest.mark.parametrize("status", [401, 403, 404, 307])
def test_a_key_or_address_that_is_refused_ends_the_run_at_once(status: int, run: Run) -> None:
    with (
        serving(says(good)) as elsewhere,
        serving(fails(status, f"no such key {KEY}", Location=f"{elsewhere.url}/chat/completions")) as server,
    ):
        code, found = run(server)
    assert code == 1 and len(server.asked) == 1 and not elsewhere.asked
    assert f"status {status}" in found["err"] and "are --endpoint, --model and the key right?" in found["err"]


def test_a_question_that_is_refused_is_a_failure(run: Run, tmp_path: Path) -> None:
    with serving(says(good), fails(400, "too long")) as server:
        code, found = run(server)
    assert code == 0 and len(server.asked) == 2 and found["lines"] == {"train": 1}
    [failure] = lines(tmp_path / "a.failures.jsonl")
    assert failure == {"record": "normal.npz", "task": "interpretation", "reason": "status 400: too long"}


# -- paid once, and within a budget ------------------------------------------------------------------------------------


def test_nothing_is_paid_twice(run: Run, tmp_path: Path) -> None:
    with serving(says(good), says(wrong)) as server:
        run(server)
        first = (tmp_path / "a.jsonl").read_text()
        asked = len(server.asked)
        code, found = run(server, out="b.jsonl")
        assert code == 0 and len(server.asked) == asked == 3 and found["remote"]["kept"] == 3
        assert (tmp_path / "b.jsonl").read_text() == first and found["remote"]["requests"] == 0
        run(server, "--temperature", "0.1", out="c.jsonl")  # another question
        assert len(server.asked) == asked + 2


def test_an_end_before_time_pays_for_nothing_again(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llava_ecg.instruct import chunks as module

    def stop(*_: object) -> Any:
        raise KeyboardInterrupt

    with serving(says(good)) as server:
        with monkeypatch.context() as patch:
            patch.setattr(module, "check", stop)
            assert run(server)[0] == 130
        assert len(server.asked) == 1
        assert run(server)[1]["lines"] == {"train": 2} and len(server.asked) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max_tokens_total", "8000"], "--max_tokens_total 8000 is used up"),
        (["--max_cost", "0.02", "--price_in", "1", "--price_out", "10"], "--max_cost 0.02 is used up"),
    ],
)
def test_a_budget_is_never_passed_and_the_rest_can_be_bought(
    words: list[str], said: str, run: Run, tmp_path: Path
) -> None:
    with serving(says(good, usage={"prompt_tokens": 3000, "completion_tokens": 1100})) as server:
        code, found = run(server, *words)
        assert code == 1 and said in found["err"] and len(server.asked) == 1
        assert run(server, *words)[0] == 1 and len(server.asked) == 1  # it is of all runs with this cache
        code, found = run(server, *words[2:])
        assert code == 0 and found["lines"] == {"train": 2} and len(server.asked) == 2
        assert found["remote"]["all_tokens"] == 8200 and found["remote"]["kept"] == 1


def test_requests_are_spread_over_the_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    waited: list[float] = []
    monkeypatch.setattr(Budget, "wait", lambda _, seconds: waited.append(seconds))
    budget = Budget(Limits(requests_per_minute=30), tmp_path, clock=lambda: now)
    for _ in range(3):
        budget.settle(budget.take(Reserved(1, 1)), Reserved(1, 1), sent=True)
    now += 60
    budget.take(Reserved(1, 1))
    assert waited == [0, 2, 4, 0] and budget.spent()["requests"] == 3
    budget.close()


def test_what_is_in_flight_counts(tmp_path: Path) -> None:
    budget = Budget(Limits(max_tokens_total=100), tmp_path)
    first = budget.take(Reserved(30, 30))
    budget.settle(first, Reserved(10, 10), sent=True)
    second = budget.take(Reserved(30, 30))
    with pytest.raises(StoppedError, match="with 140"):
        budget.take(Reserved(30, 30))
    budget.settle(second, None, sent=True)
    budget.close()
    with pytest.raises(InputError, match="another run"), _open(tmp_path):
        Budget(Limits(), tmp_path)
    again = Budget(Limits(), tmp_path)
    assert again.before == (10, 10)
    again.close()


class _open:
    def __init__(self, folder: Path) -> None:
        self.budget = Budget(Limits(), folder)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self.budget.close()


# -- several at once, pages, flags -------------------------------------------------------------------------------------


def test_several_at_once_write_the_same_and_ask_the_same_once(run: Run, place: Path, tmp_path: Path) -> None:
    """Chunks in flight together, whose recordings are two files under forty names."""
    rows = (place / "records.csv").read_text().splitlines()
    table = place / "many.csv"
    names = []
    for number in range(40):
        source = ("normal", "lbbb")[number % 2]
        (place / f"{number:02}.npz").write_bytes((place / f"{source}.npz").read_bytes())
        names.append(rows[1 + number % 2].replace(source, f"{number:02}", 1))
    table.write_text("\n".join([rows[0], *names]) + "\n")
    with serving(says(good)) as server:
        assert run(server, "--records", str(table), "--at_once", "3")[1]["lines"] == {"train": 40}
        assert len(server.asked) == 2
        run(server, "--records", str(table), out="b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_what_hangs_does_not_hold_back_an_end() -> None:
    held, stopped = threading.Event(), threading.Event()

    def work(chunk: Chunk) -> Part:
        if chunk.number:
            held.wait(30)
        return Part(chunk.number, {}, {})

    found: Iterator[Part] = Threads(2, stopped.set).run(work, (Chunk(number, ()) for number in range(9)))
    assert next(found).number == 0 and not stopped.is_set()
    found.close()  # type: ignore[attr-defined]
    assert stopped.is_set() and not held.is_set()
    held.set()


def test_the_page_is_sent_where_there_is_one(run: Run, place: Path, tmp_path: Path) -> None:
    table = place / "bare.csv"
    table.write_text("record,volts\nnormal.npz,yes\nlbbb.npz,no\n")
    with serving(says(good)) as server:
        run(server, "--records", str(table), "--images", str(tmp_path / "pages"), "--show_page")
    first, second = (each["messages"][1]["content"] for each in server.asked)
    assert first[1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR") and isinstance(second, str)


def test_fields_of_a_request(run: Run) -> None:
    with serving(says("{}")) as server:
        words = ["--limit", "1", "--attempts", "1", "--request"]
        run(server, *words, '{"response_format": null, "max_tokens": null, "max_completion_tokens": 77, "top_k": 5}')
        [asked] = server.asked
        assert (asked["max_completion_tokens"], asked["top_k"], asked["temperature"]) == (77, 5, 0.7)
        assert not {"response_format", "max_tokens"} & set(asked)
        code, found = run(server, *words, '{"max_tokens": null}', out="b.jsonl")
        assert code == 2 and "max_completion_tokens; give one of them" in found["err"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--endpoint", "ftp://x/v1"], "is no address; write it as https://HOST/v1"),
        (["--endpoint", f"https://me:{KEY}@host/v1"], "give the key apart"),
        (["--processes", "2"], "--processes and --engine ray are for the offline writer"),
        (["--engine", "ray"], "--processes and --engine ray are for the offline writer"),
        (["--max_cost", "3", "--price_in", "1"], "give --price_in and --price_out"),
        (["--show_page"], "give --images DIR"),
        (["--key_env", "NOT_SET_HERE"], "the variable NOT_SET_HERE holds no key"),
        (["--writer", "offline"], "--endpoint is for a remote writer"),
    ],
)
def test_flags_that_do_not_go_together(words: list[str], sentence: str, run: Run) -> None:
    with serving(says(good)) as server:
        code, found = run(server, *words)
    assert code == 2 and sentence in found["err"] and len(found["err"].splitlines()) == 1 and not server.asked


@pytest.mark.parametrize("text", ["[1]", '{"messages": []}', "{"])
def test_a_request_that_is_none(text: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(says(good)) as server, pytest.raises(SystemExit) as stopped:
        run(server, "--request", text)
    assert stopped.value.code == 2 and "--request is a JSON object" in capsys.readouterr().err


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r'pip install "llava-ecg\[remote\]"'):
        Endpoint("http://127.0.0.1:1/v1", "m", "x")
    with pytest.raises(InputError, match="is no address"):
        check_url("127.0.0.1:1")
