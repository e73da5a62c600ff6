"""``playground/first_hour.ipynb``: kept without outputs, in words that hold, and run from first to last cell."""

from __future__ import annotations

import ast
import json
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import llava_ecg
from llava_ecg.checkpoint.places.fetch import base_folder
from llava_ecg.display import RESEARCH_USE

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "playground" / "first_hour.ipynb"


@pytest.fixture(scope="module")
def book() -> dict[str, Any]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def written(book: dict[str, Any], kind: str) -> dict[str, str]:
    """Name of each cell of a kind -> its text."""
    return {cell["id"]: "".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == kind}


def test_it_is_kept_without_outputs(book: dict[str, Any]) -> None:
    """Outputs would hold what one machine made, grow the repository, and be wrong one day."""
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 10
    for cell in code:
        assert (cell["id"], cell["outputs"], cell["execution_count"]) == (cell["id"], [], None)
    names = [cell["id"] for cell in book["cells"]]
    assert len(set(names)) == len(names)
    assert set(book["metadata"]) == {"kernelspec", "language_info"}
    assert NOTEBOOK.stat().st_size < 30_000


def test_its_words(book: dict[str, Any]) -> None:
    told = list(written(book, "markdown").values())
    assert RESEARCH_USE in told[0]
    assert RESEARCH_USE in told[-1]
    pages = {page for text in told for page in re.findall(r"docs/\w+\.md", text)}
    assert pages
    assert not [page for page in pages if not (ROOT / page).is_file()]


def test_each_cell_is_python_and_names_what_is_there(book: dict[str, Any]) -> None:
    for name, text in written(book, "code").items():
        tree = ast.parse(text, name)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "llava_ecg":
                assert node.attr in llava_ecg.__all__, (name, node.attr)
            if isinstance(node, ast.ImportFrom):
                assert find_spec(str(node.module)) is not None, (name, node.module)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The notebook's outputs after a run with few ECGs and one step: name of a cell -> type -> what was shown or
    printed."""
    for library in ("nbclient", "nbformat", "ipykernel", "accelerate", "peft"):
        pytest.importorskip(library, reason=f"the notebook runs with {library}; pip install -e .[test] brings it")
    if base_folder("gem-tiny") is None and os.environ.get("CI"):
        pytest.fail("the language model of gem-tiny could not be fetched, and CI must not pass without it")
    if base_folder("gem-tiny") is None:
        pytest.skip("the language model of gem-tiny is not here; fetch it with: llava-ecg fetch gem-tiny")
    import nbformat
    from nbclient import NotebookClient

    folder = tmp_path_factory.mktemp("notebook")
    book = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(book, timeout=600, resources={"metadata": {"path": str(folder)}})
    env = {**os.environ, "LLAVA_ECG_QUICK": "1", "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    with client.setup_kernel(env=env, cwd=str(folder)):
        for number, cell in enumerate(book.cells):
            client.execute_cell(cell, number)
    return {cell.id: _outputs(cell.outputs) for cell in book.cells if cell.cell_type == "code"}


def _outputs(outputs: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in outputs:
        if each.output_type == "stream":
            found[each.name] = found.get(each.name, "") + each.text
        else:
            found |= each.data
    return found


def test_it_runs_to_an_answer_of_a_tuned_model(done: dict[str, dict[str, Any]]) -> None:
    assert {"text/html", "image/png"} <= set(done["read-dicom"])
    assert "12 leads, 1000 Hz, 10.0 s" in done["read-dicom"]["text/html"]
    assert "image/png" in done["render"]
    assert "heart rate" in done["measured"]["text/html"]
    assert "first degree AV block" in done["simulated"]["stdout"]
    assert "PR 160 ms claimed" in done["audited"]["text/html"]
    assert "badge contradicted" in done["audited"]["text/html"]
    assert "Audit against the signal" in done["counts"]["text/html"]
    made = re.fullmatch(r"(\d+) lines from 3 recordings\n", done["instruct"]["stdout"])
    assert made is not None
    assert int(made[1]) >= 3
    assert "gpt: " in done["line"]["stdout"]
    told = re.match(r"mean loss of the first 1 of 1 steps ([\d.]+), of the last", done["losses"]["stdout"])
    assert told is not None
    assert 0 < float(told[1]) < 20
    assert "Answer" in done["tuned"]["text/plain"]


def test_it_leaves_nothing_but_its_own_folder(done: dict[str, dict[str, Any]]) -> None:
    assert done["settings"]["stdout"].startswith(f"llava_ecg {llava_ecg.__version__}, files go to ")
    folder = Path(done["settings"]["stdout"].split("files go to ")[1].strip())
    assert (folder / "tuned" / "config.json").is_file()
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith("first_hour-")] == [folder.name]
    assert not [path for path in folder.parent.iterdir() if path.suffix in (".safetensors", ".jsonl")]
