"""A benchmark's result as plain values, as ``segan benchmark --json`` prints them."""

from __future__ import annotations

import platform
from typing import Any

from segan.runtime.backends.registry import BACKENDS
from segan.runtime.benchmark.plan import BenchmarkConfig, BenchmarkResult, CeilingResult, RowResult
from segan.runtime.benchmark.worker import COMPARED_SEEDS
from segan.runtime.files.target import json_kind
from segan.runtime.machine.cores import usable_cores
from segan.runtime.machine.gpus import cuda_devices
from segan.runtime.machine.hardware import describe_cpu, describe_memory
from segan.runtime.machine.packages import installed_version

#: A record of an earlier benchmark, which another one may replace.
BENCHMARK = json_kind("a benchmark", "machine", "rows")

#: Packages whose versions determine how fast a row is.
_PACKAGES = ("segan", "numpy", *(name for entry in BACKENDS.values() for name in entry.packages))


def benchmark_record(result: BenchmarkResult, config: BenchmarkConfig) -> dict[str, Any]:
    """Return everything that was measured, for JSON; unknown values are None.

    Returns:
        ``machine``, ``bundle``, ``settings``, ``reference``, ``rows``, one for each backend,
        precision and batch size that ran, and ``not_run``, the others with their reasons.
        docs/reference/files.md says what each field means.
    """
    return {
        "machine": _describe_machine(result, config),
        "bundle": {
            "path": str(result.bundle),
            "name": result.name,
            "resolution": result.resolution,
            "gmac_per_image": None if result.macs is None else round(result.macs / 1e9, 4),
        },
        "settings": {
            "batches": list(config.batches),
            "seconds": config.seconds,
            "rounds": config.rounds,
            "threads": config.threads,
            "throughput": config.throughput,
        },
        "reference": {
            "backend": "cpu",
            "precision": "fp32",
            "seeds": list(COMPARED_SEEDS),
            "problem": result.reference_problem,
        },
        "rows": [_row(row) for row in result.rows],
        "not_run": [
            {
                "backend": entry.backend,
                "precision": entry.precision,
                "batches": list(entry.batches),
                "problem": entry.problem,
            }
            for entry in result.not_run
        ],
    }


def _row(row: RowResult) -> dict[str, Any]:
    return {
        "backend": row.choice.backend,
        "precision": row.choice.precision,
        "batch": row.batch,
        "images_per_s": round(row.images_per_s, 3),
        "slowest": round(min(row.rates), 3),
        "fastest": round(max(row.rates), 3),
        "p50_ms": round(row.percentile_ms(50), 3),
        "p99_ms": round(row.percentile_ms(99), 3),
        "timed_batches": len(row.latencies_s),
        "callers": row.callers,
        "of_ceiling": _rounded(row.of_ceiling, 4),
        "bound_images_per_s": _rounded(row.bound, 3),
        "max_error": row.max_error,
        "psnr_db": _rounded(row.psnr_db, 2),
        "max_error_uint8": row.max_error_uint8,
        "load_s": round(row.load_s, 3),
        "first_batch_ms": round(row.first_batch_s * 1000, 3),
        "peak_mib": _mib(row.peak_bytes),
        "device_mib": _mib(row.device_bytes),
        "file_mib": _mib(row.file_bytes),
    }


def _describe_machine(result: BenchmarkResult, config: BenchmarkConfig) -> dict[str, Any]:
    cpu = describe_cpu()
    return {
        "processor": cpu["name"],
        "instruction_sets": cpu["instruction_sets"],
        "cores": cpu["cores"],
        "threads": cpu["threads"],
        "threads_used": config.threads or usable_cores(),
        "memory_mib": _mib(describe_memory()["total"]),
        "gpu": [
            {
                "name": device.name,
                "capability": f"{device.capability[0]}.{device.capability[1]}",
                "memory_mib": _mib(device.memory),
            }
            for device in cuda_devices()
        ],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := installed_version(name))},
        "load_1min": _rounded(result.load_1min, 2),
        "ceilings": [_ceiling(ceiling) for ceiling in result.ceilings],
        "copy_gb_per_s": _giga(result.host_copy),
        "device_copy_gb_per_s": _giga(result.device_copy),
    }


def _ceiling(ceiling: CeilingResult) -> dict[str, Any]:
    return {
        "backend": ceiling.choice.backend,
        "precision": ceiling.choice.precision,
        "gflop_per_s": _giga(ceiling.flop_per_s),
        "slowest": _giga(min(ceiling.rates, default=None)),
        "fastest": _giga(max(ceiling.rates, default=None)),
        "convolution": ceiling.shape,
        "problem": ceiling.problem,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _giga(value: float | None) -> float | None:
    return None if value is None else round(value / 1e9, 2)


def _mib(size: int | None) -> float | None:
    return None if size is None else round(size / 2**20, 2)
