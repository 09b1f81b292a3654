"""Which environment variables a record may keep: those that change how a benchmark runs.

An allow-list, since a report is handed to others and an environment holds credentials. A name that
looks like one is left out even where its prefix is on the list.
"""

from __future__ import annotations

from collections.abc import Mapping

PREFIXES = (
    "NCCL_", "RCCL_", "TORCH_NCCL_", "GLOO_", "UCX_", "FI_",
    "HSA_", "HIPBLASLT_", "ROCBLAS_", "CUBLAS_", "MIOPEN_",
    "OMP_", "GOMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_",
)  # fmt: skip
NAMES = frozenset({
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "CUDA_DEVICE_MAX_CONNECTIONS",
    "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_MAX_HW_QUEUES",
    "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF",
    "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCH_BLAS_PREFER_HIPBLASLT",
    "LD_PRELOAD", "MALLOC_ARENA_MAX",
    "SLURM_JOB_ID", "SLURM_JOB_PARTITION", "SLURM_NNODES", "SLURM_NTASKS", "SLURM_CPUS_PER_TASK",
})  # fmt: skip
SECRETS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL")


def environment_allowed(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of `environ` that a record may keep, sorted by name."""
    return {name: environ[name] for name in sorted(environ) if _allowed(name)}


def _allowed(name: str) -> bool:
    if any(word in name.upper() for word in SECRETS):
        return False
    return name in NAMES or name.startswith(PREFIXES)
