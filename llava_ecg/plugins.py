"""The sockets, on one page. A package plugs in with an entry point in the group ``llava_ecg.<kind>s``; see
docs/extending.md."""

from __future__ import annotations

from llava_ecg.registry import Registry

readers = Registry(
    "reader",
    {
        "wfdb": "llava_ecg.ecg.formats.physionet:Wfdb",
        "dicom": "llava_ecg.ecg.formats.dicom:Dicom",
        "edf": "llava_ecg.ecg.formats.edf:Edf",
        "hdf5": "llava_ecg.ecg.formats.hdf5:Hdf5",
        "parquet": "llava_ecg.ecg.formats.parquet:Parquet",
        "ishne": "llava_ecg.ecg.formats.ishne:Ishne",
        "mfer": "llava_ecg.ecg.formats.mfer:Mfer",
        "vendor": "llava_ecg.ecg.formats.vendor:Vendor",
        "numpy": "llava_ecg.ecg.formats.arrays:Numpy",
        "csv": "llava_ecg.ecg.formats.arrays:Csv",
    },
    "file formats of an ECG: file -> Recording",
    ("suffixes", "recognises", "read"),
)
towers = Registry(
    "tower",
    {
        "ecg_coca": "llava_ecg.model.towers.ecg_coca:EcgCoCaTower",
        "clip": "llava_ecg.model.towers.clip:ClipTower",
    },
    "encoders: what was prepared from a source -> tokens",
    ("forward", "preparer"),
)
projectors = Registry(
    "projector",
    {
        "linear": "llava_ecg.model.projectors:linear",
        "mlp_gelu": "llava_ecg.model.projectors:mlp_gelu",
        "identity": "llava_ecg.model.projectors:identity",
    },
    "tower width -> language model width (mlpNx_gelu is mlp_gelu with depth N)",
    ("__call__",),
)
templates = Registry(
    "template",
    {
        name: f"llava_ecg.data.templates:{name}"
        for name in (
            *("v1", "vicuna_v1", "llava_v1", "llama_2", "llava_llama_2", "mistral_instruct"),
            *("mpt", "chatml_direct", "qwen_2", "ecg_chatml", "plain"),
        )
    },
    "chat templates: conversation -> text spans",
    ("spans", "prompt", "stop"),
)
datasets = Registry(
    "dataset",
    {},
    "sets of records that --data_path may name: () -> path of LLaVA JSON, JSONL or data.yaml",
    ("__call__",),
)

guides = Registry(
    "guide",
    {"recommendations": "llava_ecg.instruct.guide:recommendations"},
    "what bears out or rules out a diagnosis: () -> Guide",
    ("__call__",),
)
tasks = Registry(
    "task",
    {
        name: f"llava_ecg.eval.tasks:{name}"
        for name in (
            *("ptbxl_super", "ptbxl_super_missing", "ptbxl_rhythm", "ecgqa", "readings", "measured", "measured_fold9"),
            *("measured_mimic", "measured_ptbxl", "ecgbench_ptbxl_super", "ecgbench_ptbxl_report", "ecgbench_code15"),
            *("ecgbench_cpsc", "ecgbench_csn", "ecgbench_g12ec", "ecgbench_ecgqa", "ecgbench_mmmu", "ecgbench_arena"),
            *("grounded_mimic", "grounded_ptbxl", "grounded_mimic_r1", "grounded_ptbxl_r1", "grounded_mimic_missing"),
        )
    },
    "benchmarks of llava-ecg eval, each an EvalTask",
)

SOCKETS = {
    registry.kind + "s": registry for registry in (readers, towers, projectors, templates, datasets, guides, tasks)
}
