"""Packaging of llava-ecg: metadata, dependencies, extras, the console script, and the embedded checkpoint that travels
in the wheel."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
GEM_TINY = "checkpoints/gem-tiny"

# Lower bounds are what the code needs; constraints.txt holds the exact versions that the tests run with.
# torchvision and timm stay out on purpose: where their CUDA libraries are missing, every transformers model import
# fails.
BASE = [
    "torch>=2.11",
    "transformers>=5.17",
    "tokenizers>=0.22",
    "sentencepiece>=0.2",
    "protobuf>=5",
    "safetensors>=0.6",
    "numpy>=2.0",
    "scipy>=1.14",
    "pillow>=11",
    "wfdb>=4.3",
    "pydicom>=3.0",
    "sleepecg>=0.5.9",
    "prompt_toolkit>=3.0.40",
    "pyyaml>=6.0",
    "shtab>=1.13",
]
TRAIN = ["accelerate>=1.10", "peft>=0.19", "wandb>=0.22"]
EVAL = ["inspect_ai>=0.3.285"]
QUANT = ["bitsandbytes>=0.50"]
SERVE = ["fastapi>=0.115", "uvicorn>=0.34"]
FORMATS = ["ecgdatakit>=2.0.3", "edfio>=0.4.18", "h5py>=3.12", "pyarrow>=20"]
DOCS = ["mkdocs-material>=9.6", "mkdocstrings[python]>=1.0", "ruff>=0.15"]  # ruff puts signatures into form
TEST = [
    *DOCS,
    *EVAL,
    *FORMATS,
    *QUANT,
    *SERVE,
    *TRAIN,
    "pytest>=8.3",
    "pytest-xdist>=3.6",
    "hypothesis>=6.120",
    "httpx>=0.27",
    "ipykernel>=6.29",
    "nbclient>=0.10",
    "nbformat>=5.10",
    "openai>=1.60",
    "setuptools>=77",
]
EXTRAS = {
    "deepspeed": ["deepspeed>=0.19"],
    "docs": DOCS,
    "eval": EVAL,
    "flash": ["flash-attn>=2.7"],
    "formats": FORMATS,
    "quant": QUANT,
    "ray": ["ray[data]>=2.40"],
    "remote": ["openai>=1.60"],
    "serve": SERVE,
    "train": TRAIN,
    "test": TEST,
    "dev": [*TEST, "mypy>=1.18"],
}


def version() -> str:
    """The version that llava_ecg/__init__.py states, read as text: importing the package would need its
    dependencies."""
    found = re.search(
        r'^__version__ = "([^"]+)"$', (ROOT / "llava_ecg/__init__.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    if found is None:
        raise RuntimeError('llava_ecg/__init__.py has no line __version__ = "..."')
    return found.group(1)


def checkpoint_files() -> list[tuple[str, list[str]]]:
    """The embedded checkpoint as data_files wants it: for each of its folders, where its files go and which they
    are."""
    folders: dict[str, list[str]] = {}
    for path in sorted((ROOT / GEM_TINY).rglob("*")):
        if path.is_file():
            inside = path.relative_to(ROOT)
            folders.setdefault(f"share/llava_ecg/{inside.parent.as_posix()}", []).append(inside.as_posix())
    return list(folders.items())


setup(
    name="llava-ecg",
    version=version(),
    description="Language models that read ECGs and are held to the measured signal. Research use, not a medical "
    "device.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # Said, though it is the default: with it, `pip install -e` writes the path of this folder into site-packages.
    # Without it, it writes a finder, which is asked too late in the folder that holds a clone: there the clone itself
    # is taken for the package, an empty one.
    package_dir={"": "."},
    packages=find_packages(include=["llava_ecg", "llava_ecg.*"]),
    package_data={"llava_ecg": ["py.typed", "**/*.yaml", "**/*.json", "**/*.css", "**/*.safetensors"]},
    data_files=checkpoint_files(),
    install_requires=BASE,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["llava-ecg = llava_ecg.cli:main"],
        "inspect_ai": ["llava_ecg = llava_ecg.eval.harness"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        "Typing :: Typed",
    ],
)
