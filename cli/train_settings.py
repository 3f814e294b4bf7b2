"""The options of ``segan train`` that are settings of the run."""

from __future__ import annotations

#: Option → place in TrainConfig. A new option that shapes the run belongs here: by this table it is
#: put into the configuration, compared when a run is resumed, and named in errors.
SETTINGS = {
    "mode": "subspace.mode",
    "kind": "subspace.kind",
    "dims": "subspace.dims",
    "shared_coords": "subspace.shared_coords",
    "jacobian_weight": "subspace.jacobian_weight",
    "preset": "preset",
    "resolution": "network.resolution",
    "cond": "network.c_dim",
    "architecture": "network.architecture",
    "mirror": "mirror",
    "batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "r1_gamma": "r1_gamma",
    "seed": "seed",
    "kimg": "total_kimg",
    "snapshot_kimg": "snapshot_kimg",
    "keep_checkpoints": "keep_checkpoints",
    "metric_images": "metric_images",
    "augment": "augment.mode",
    "augment_p": "augment.probability",
    "augment_target": "augment.target",
    "augment_kimg": "augment.speed_kimg",
    "precision": "compute.precision",
    "reduced_from": "compute.reduced_from",
    "tf32": "compute.tf32",
    "compile": "compute.compile",
    "batch_gpu": "compute.micro_batch",
}
