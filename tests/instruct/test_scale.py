"""Chunks, engines and the files of a run: the same lines however they are made, and none lost or doubled by an end
before time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llava_ecg.cli import main
from llava_ecg.errors import InputError
from llava_ecg.instruct import chunks as module
from llava_ecg.instruct.chunks import Chunk, Job, Part, chunked
from llava_ecg.instruct.engines import Here, Processes, in_order
from llava_ecg.instruct.facts import CantWriteError, FactsFolder, Given
from llava_ecg.instruct.guide import guide
from llava_ecg.instruct.output import Output
from llava_ecg.instruct.produce import produce
from llava_ecg.instruct.sources import Listed, listed
from llava_ecg.instruct.summary import Options, Summary
from llava_ecg.instruct.writer import OfflineWriter

from .made import HEARTS, save

FILES = ("a.jsonl", "a.val.jsonl", "a.setaside.jsonl", "a.failures.jsonl")
COUNT = 2 * module.CHUNK + 5  # three chunks, the last not full


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings that are three files under many names, so that little is measured, with the set that one process
    makes of them."""
    place = tmp_path_factory.mktemp("scale")
    for name in ("normal", "slow", "lbbb"):
        save(place, name, HEARTS[name], seed=2)
    rows = ["record,patient,report"]
    for number in range(COUNT):
        source = ("normal", "slow", "lbbb")[number % 3]
        shutil.copy(place / f"{source}.npz", place / f"{number:03}.npz")
        report = "atrial fibrillation" if number == 20 else ""
        rows.append(f"{number:03}.npz,p{number},{report}")
    (place / "009.npz").write_text("nothing")
    (place / "records.csv").write_text("\n".join(rows) + "\n")
    assert main(words(place, place / "one")) == 0
    return place


def words(place: Path, out: Path, *more: str) -> list[str]:
    given = ["--records", place / "records.csv", "--out", out / "a.jsonl", "--facts", place / "facts", "--val", "0.3"]
    return ["instruct", *map(str, given), *more]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def parts_of(place: Path, out: Path) -> tuple[Listed, OfflineWriter, Options]:
    return listed(place / "records.csv"), OfflineWriter(guide()), Options(out / "a.jsonl", place / "facts", val=0.3)


def test_two_processes_write_what_one_writes(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(place, tmp_path, "--processes", "2", "--json")) == 0
    shown = capsys.readouterr()
    assert contents(tmp_path) == contents(place / "one") and set(contents(tmp_path)) == set(FILES)
    found = json.loads(shown.out)
    assert (found["recordings"], found["failures"], found["set_aside"]) == (COUNT, 1, 1)
    assert f"{COUNT} of {COUNT}" in shown.err and " a minute" in shown.err
    lines = (tmp_path / "a.jsonl").read_text().splitlines() + (tmp_path / "a.val.jsonl").read_text().splitlines()
    assert len(lines) == sum(found["lines"].values()) and len({json.loads(line)["id"] for line in lines}) == len(lines)


def test_ray_writes_what_one_process_writes(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray.data", reason="needs Ray, which the extra [ray] brings")
    root = str(
        Path(__file__).resolve().parents[2]
    )  # a worker of Ray knows nothing of the folder that pytest was begun in
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))
    assert main(words(place, tmp_path, "--engine", "ray", "--processes", "2")) == 0
    assert contents(tmp_path) == contents(place / "one")


@pytest.mark.parametrize(("done", "torn"), [(0, 0), (1, 1), (2, 0), (3, 1)])
def test_the_same_command_goes_on_where_it_was(
    done: int, torn: int, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C after so many chunks, with or without lines of a chunk that had not been said to be there."""
    asked = parts_of(place, tmp_path)

    class Stopped:
        def run(self, work: Callable[[Chunk], Part], chunks: Iterable[Chunk]) -> Iterator[Part]:
            for chunk in chunks:
                if chunk.number == done:
                    raise KeyboardInterrupt
                yield work(chunk)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        produce(*asked, engine=Stopped())
    assert not (tmp_path / "a.jsonl").exists()
    if torn:
        for name in FILES:
            with (tmp_path / f"{name}.part").open("a") as file:
                file.write('{"id": "half a li')
        with (tmp_path / "a.run.jsonl").open("a") as file:
            file.write('{"chunk": ')
    worked: list[int] = []

    class Counted(Here):
        def run(self, work: Callable[[Chunk], Part], chunks: Iterable[Chunk]) -> Iterator[Part]:
            for chunk in chunks:
                worked.append(chunk.number)
                yield work(chunk)

    told: list[tuple[int, int]] = []
    summary = produce(*asked, lambda *far: told.append(far), Counted())
    assert worked == [0, 1, 2][done:] and told[0] == (min(16 * done, COUNT), COUNT) and told[-1] == (COUNT, COUNT)
    assert contents(tmp_path) == contents(place / "one")
    if done == 1:  # counted partly then and partly now
        assert replace(summary, measured=0) == replace(produce(*asked), measured=0) and summary.recordings == COUNT


def test_an_end_among_the_renames(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = parts_of(place, tmp_path)
    rename, count = Path.replace, 0

    def once(self: Path, target: Path) -> Any:
        nonlocal count
        if ".part" in self.name:
            count += 1
            if count > 1:
                raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        produce(*asked)
    monkeypatch.undo()
    assert (tmp_path / "a.jsonl").exists() and not (tmp_path / "a.val.jsonl").exists()
    assert produce(*asked).recordings == COUNT
    assert contents(tmp_path) == contents(place / "one")


def test_what_a_former_run_left_stays_until_the_next_is_done(place: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("former\n")
    (tmp_path / "a.failures.jsonl").write_text("former\n")
    (place / "sound.csv").write_text("record\n000.npz\n")
    asked = (listed(place / "sound.csv"), *parts_of(place, tmp_path)[1:])

    class Stopped:
        def run(self, work: Callable[[Chunk], Part], chunks: Iterable[Chunk]) -> Iterator[Part]:
            raise KeyboardInterrupt
            yield

    with pytest.raises(KeyboardInterrupt):
        produce(*asked, engine=Stopped())
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "a.failures.jsonl").read_text() == "former\n"
    produce(*asked)
    assert "former" not in (tmp_path / "a.jsonl").read_text() and not (tmp_path / "a.failures.jsonl").exists()


def all_gone(group: int) -> None:
    """Wait until no process of a group is left."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("processes were left behind")


IDLE = """
import sys, time
from tests.instruct.test_scale import quick, Chunk, Processes
if __name__ == "__main__":
    found = Processes(2).run(quick, [Chunk(0, ()), Chunk(1, ())])
    print(next(found).number, next(found).number, flush=True)
    time.sleep(60)
"""


def quick(chunk: Chunk) -> Part:
    return Part(chunk.number, {}, {})


def test_processes_that_wait_end_with_the_one_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "idle.py"
    script.write_text(IDLE)
    root = str(Path(__file__).resolve().parents[2])
    known = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    begun = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, start_new_session=True, env=known)
    try:
        assert begun.stdout is not None and begun.stdout.readline() == b"0 1\n"
    finally:
        begun.kill()
        begun.wait()
        begun.stdout.close()  # type: ignore[union-attr]
    all_gone(begun.pid)


def test_killed_with_its_processes_it_loses_nothing(place: Path, tmp_path: Path) -> None:
    """SIGKILL to the one that writes: the others end with it, and the same command finishes."""
    journal = tmp_path / "a.run.jsonl"
    program = [sys.executable, "-m", "llava_ecg", *words(place, tmp_path, "--processes", "2")]
    begun = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(600):
            if journal.exists() and journal.read_bytes().count(b"\n") >= 2:
                break
            assert begun.poll() is None, "it was over before it could be killed"
            time.sleep(0.05)
    finally:
        begun.kill()
        begun.wait()
    all_gone(begun.pid)
    assert journal.exists()
    assert main(words(place, tmp_path)) == 0
    assert contents(tmp_path) == contents(place / "one")


def test_other_settings_do_not_mix(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, writer, options = parts_of(place, tmp_path)

    class Stopped:
        def run(self, work: Callable[[Chunk], Part], chunks: Iterable[Chunk]) -> Iterator[Part]:
            yield work(next(iter(chunks)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        produce(given, writer, options, engine=Stopped())
    assert main(words(place, tmp_path, "--seed", "7", "--measurements", "gem")) == 2
    shown = capsys.readouterr().err
    assert "other settings (measurements, seed)" in shown and "delete that file to begin anew" in shown
    (tmp_path / "a.run.jsonl").unlink()
    assert main(words(place, tmp_path, "--seed", "7", "--limit", "2")) == 0
    assert "000" in (tmp_path / "a.jsonl").read_text() and not list(tmp_path.glob("*.part"))


def test_two_runs_do_not_write_to_one_file(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Output(parts_of(place, tmp_path)[2], {}):
        assert main(words(place, tmp_path)) == 2
    assert "another run is writing" in capsys.readouterr().err


def test_a_full_disk_ends_the_run_and_is_no_fault_of_a_recording(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = parts_of(place, tmp_path)

    def full(*_: object) -> Any:
        raise CantWriteError("can't write x: No space left on device")

    monkeypatch.setattr(FactsFolder, "get", full)
    with pytest.raises(InputError, match="No space left"):
        produce(*asked)
    monkeypatch.undo()

    def broken(*_: object) -> Any:
        raise ZeroDivisionError("a reader's own mistake")

    monkeypatch.setattr(FactsFolder, "get", broken)
    assert produce(*asked).failures == COUNT
    assert "ZeroDivisionError: a reader's own mistake" in (tmp_path / "a.failures.jsonl").read_text()


def test_no_more_than_a_window_is_in_flight() -> None:
    """However many chunks there are, and though the first of them is the last to be done."""
    taken = 0

    def chunks() -> Iterator[Chunk]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield Chunk(number, ())

    futures: dict[int, Future[Part]] = {}

    def submit(chunk: Chunk) -> Future[Part]:
        futures[chunk.number] = Future()
        if chunk.number % 5:
            futures[chunk.number].set_result(Part(chunk.number, {}, {}))
        elif chunk.number >= 5:
            futures[chunk.number - 5].set_result(Part(chunk.number - 5, {}, {}))
        return futures[chunk.number]

    found = in_order(submit, chunks(), 6)
    for number in range(990):
        assert next(found).number == number
        assert taken <= number + 6


def _fail(chunk: Chunk) -> Part:
    if chunk.number == 1:
        os._exit(9)
    if chunk.number == 2:
        raise InputError("one sentence")
    return Part(chunk.number, {}, {})


def test_a_process_that_is_lost_and_a_mistake_in_one_are_told() -> None:
    found = Processes(1).run(_fail, (Chunk(number, ()) for number in (0, 2)))
    assert next(found).number == 0
    with pytest.raises(InputError, match="^one sentence$"):
        next(found)
    with pytest.raises(InputError, match="a process was killed"):
        list(Processes(1).run(_fail, (Chunk(number, ()) for number in (0, 1))))


def test_chunks_are_the_same_wherever_one_goes_on() -> None:
    given = tuple(Given(Path(str(number)), str(number)) for number in range(COUNT))
    whole = list(chunked(given, iter(["train"] * COUNT)))
    assert [len(each.given) for each in whole] == [16, 16, 5]
    assert list(chunked(given, iter(["train"] * COUNT), 2)) == whole[2:]


def test_summaries_add_up() -> None:
    one = Summary(recordings=2, contradicted=["a"] * 49)
    one.lines["train"] = 3
    both = Summary()
    for _ in range(2):
        both.add(one.to_dict())
    assert both.recordings == 4 and both.lines == {"train": 6} and len(both.contradicted) == 50


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--cluster", "auto"], "--cluster is for Ray"),
        (["--engine", "ray"], 'pip install "llava-ecg[ray]"'),
    ],
)
def test_flags_that_do_not_go_together(
    more: list[str],
    sentence: str,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(words(place, tmp_path, *more)) == 2
    assert sentence in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_job_travels(place: Path, tmp_path: Path) -> None:
    """To another process, with its guide."""
    import pickle

    given, writer, options = parts_of(place, tmp_path)
    chunk = next(chunked(given.given[:1], iter(["train"])))
    job = Job(writer, options)
    assert pickle.loads(pickle.dumps(job))(chunk) == job(chunk)
    with pytest.raises(InputError, match="measures with other code .* than the one that began .elsewhere"):
        replace(job, measure="elsewhere")(chunk)
