"""Conversion between the training state and named tensors."""

from __future__ import annotations

from pathlib import Path

import torch

from segan.train.loop.step import TrainingState
from segan.train.runs.tensors import matching_state


def training_tensors(state: TrainingState) -> dict[str, torch.Tensor]:
    """Return G, D, both optimisers, path length mean and augmentation; no moving average.

    Names: ``generator.…``, ``discriminator.…``, ``optimizer_g.<parameter>.exp_avg`` and so on.
    """
    tensors = {f"generator.{k}": v for k, v in state.generator.state_dict().items()}
    tensors |= {f"discriminator.{k}": v for k, v in state.discriminator.state_dict().items()}
    for prefix, module, optimizer in _optimizers(state):
        for name, parameter in module.named_parameters():
            for field, value in _moments(optimizer, parameter).items():
                tensors[f"{prefix}.{name}.{field}"] = value
    tensors["pl_mean"] = state.pl_mean
    tensors |= {f"augment.{k}": v for k, v in state.augment.tensors().items()}
    return tensors


def load_training_tensors(
    state: TrainingState, tensors: dict[str, torch.Tensor], where: Path
) -> None:
    """Load ``training_tensors`` into a state of the same configuration.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape.
    """
    matching_state(tensors, training_tensors(state), str(where))

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    state.generator.load_state_dict(part("generator."))
    state.discriminator.load_state_dict(part("discriminator."))
    for prefix, module, optimizer in _optimizers(state):
        for name, parameter in module.named_parameters():
            fields = part(f"{prefix}.{name}.")
            optimizer.state[parameter] = {
                "step": fields["step"].to(parameter.device if parameter.is_cuda else "cpu"),
                "exp_avg": _laid_out_as(parameter, fields["exp_avg"]),
                "exp_avg_sq": _laid_out_as(parameter, fields["exp_avg_sq"]),
            }
    state.pl_mean = tensors["pl_mean"].to(state.device, copy=True)
    state.augment.load(part("augment."))


def _optimizers(
    state: TrainingState,
) -> tuple[tuple[str, torch.nn.Module, torch.optim.Adam], ...]:
    return (
        ("optimizer_g", state.generator, state.optimizer_g),
        ("optimizer_d", state.discriminator, state.optimizer_d),
    )


def _laid_out_as(parameter: torch.nn.Parameter, value: torch.Tensor) -> torch.Tensor:
    """A copy with the parameter's device and memory format, as a fused optimiser needs."""
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


def _moments(optimizer: torch.optim.Adam, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
    """Adam's state of one parameter; zeros before its first step."""
    found = optimizer.state.get(parameter)
    if found:
        return {field: found[field] for field in ("step", "exp_avg", "exp_avg_sq")}
    zeros = torch.zeros_like(parameter)
    return {"step": torch.zeros(()), "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
