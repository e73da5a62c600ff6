"""A small ECGBench for tests: records of each data set as its publisher lays them out, and question files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.formats.write_wfdb import wfdb_bytes
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate

RATES = (50.0, 75.0, 120.0)


def heart(place: int) -> Recording:
    """One of three hearts, which differ in the rate."""
    return simulate(Heart(rate_bpm=RATES[place % len(RATES)]), seed=3)[0]


def write_record(path: Path, place: int) -> None:
    """A WFDB record: header and signal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for each, content in wfdb_bytes(heart(place), path.with_suffix(".hea")).items():
        each.write_bytes(content)


def question(name: str, image: str, asked: str, answer: Any, **more: Any) -> dict[str, Any]:
    """A record of a question file."""
    said = [{"from": "human", "value": f"<image>\n{asked}"}, {"from": "gpt", "value": answer}]
    return {"id": name, "image": image, "conversations": said} | more


def write_questions(folder: Path) -> None:
    """The eleven question files."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = "Which is it?\nA. Sinus rhythm\nB. Atrial flutter\nC. Pacing"
    options = "Is there noise? Options: yes, no. Only answer based on the given Options without any explanation."
    arena = [{"question": "Rhythm?", "answer": "Sinus rhythm."}, {"question": "Rate?", "answer": "75 bpm."}]
    ptb = ("ptb-xl/00001_hr-0.png", "ptb-xl/00002_hr-0.png", "ptb-xl/00003_hr-0.png")
    texts = [f"The rate is {rate:.0f} bpm." for rate in RATES]
    files = {
        "ptb-test": [question(f"s{n}", ptb[n], "Labels?", ("NORM", "MI, STTC", "NORM")[n]) for n in range(3)],
        "ptb-test-report": [question(f"r{n}", ptb[n], "Report?", texts[n]) for n in range(2)],
        "ecgqa-test": [question("q0", ptb[0], options, ["yes"]), question("q1", ptb[1], options, "no")],
        "code15-test": [
            question("c0", "code15/7001-0.png", "Labels?", "NORM"),
            question("c1", "code15/7002-0.png", "Labels?", "1dAVb, SB"),
        ],
        "cpsc-test": [question(f"p{n}", f"cpsc/A000{n + 1}-0.png", "Labels?", ("AF", "STD")[n]) for n in range(2)],
        "csn-test-no-cot": [question("n0", "csn/JS00001-0.png", letters, "A. Sinus rhythm")],
        "g12-test-no-cot": [question("g0", "g12/E00001-0.png", letters, "B")],
        "mmmu-ecg": [{"No": "m0", **question("", "mmmu-ecg/1.png", letters, "C")}],
        "arena": [{"id": "a0", "image": "ecg-arena/1.png", "conversations": arena}],
        "ecg-grounding-test-mimiciv": [
            question(
                f"{n}",
                f"mimic_gen/4000{n}-0.png",
                "Interpret.",
                texts[n],
                ecg=f"mimic-iv/files/p1000/p1000000{n}/s4000{n}/4000{n}",
            )
            for n in range(3)
        ],
        "ecg-grounding-test-ptbxl": [
            question(f"{n}", ptb[n], "Interpret.", texts[n], ecg=f"ptbxl/records500/00000/0000{n + 1}_hr")
            for n in range(3)
        ],
    }
    del files["mmmu-ecg"][0]["id"]
    for name, rows in files.items():
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")


def write_images(folder: Path) -> None:
    """The images of the two files that have nothing else."""
    from PIL import Image

    for name in ("mmmu-ecg/1.png", "ecg-arena/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), "white").save(folder / name)


def write_records(root: Path) -> dict[str, Path]:
    """Name of a data set -> its folder."""
    import h5py

    for place in range(3):
        write_record(root / f"ptbxl/records500/00000/0000{place + 1}_hr", place)
        write_record(root / f"mimic/files/p1000/p1000000{place}/s4000{place}/4000{place}", place)
    (root / "ptbxl/ptbxl_database.csv").write_text("ecg_id,patient_id\n1,17.0\n2,18.0\n3,17.0\n")
    write_record(root / "cpsc/g1/A0001", 0)
    write_record(root / "cpsc/g1/A0002", 1)
    write_record(root / "csn/WFDBRecords/01/010/JS00001", 0)
    write_record(root / "georgia/g1/E00001", 2)
    (root / "code15").mkdir()
    with h5py.File(root / "code15/exams_part0.hdf5", "w") as file:
        rows = [np.zeros((4096, 12)), *(heart(place).resample(400).signal.T[:4096] for place in (1, 0))]
        padded = [np.pad(each, ((0, 4096 - len(each)), (0, 0))) for each in rows]
        file["tracings"] = np.array(padded, dtype=np.float32)
        file["exam_id"] = np.array([0, 7002, 7001])  # not in the order of the table, and a row that only fills
    (root / "code15/exams.csv").write_text("exam_id,patient_id\n7001,5\n7002,6\n")
    names = {"PTBXL": "ptbxl", "CODE15": "code15", "CPSC": "cpsc", "CSN": "csn", "G12EC": "georgia", "MIMIC": "mimic"}
    return {name: root / folder for name, folder in names.items()}
