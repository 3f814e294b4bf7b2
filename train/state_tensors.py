"""The training state as flat, named tensors, and back."""

from __future__ import annotations

from pathlib import Path

import torch

from segan.train.step import TrainingState
from segan.train.tensors import matching_state


def training_tensors(state: TrainingState) -> dict[str, torch.Tensor]:
    """Everything but the moving average: G, D, both optimisers, the path length mean.

    Names: ``generator.…``, ``discriminator.…``, ``optimizer_g.<parameter>.exp_avg`` and so on.
    """
    tensors = {f"generator.{k}": v for k, v in state.generator.state_dict().items()}
    tensors |= {f"discriminator.{k}": v for k, v in state.discriminator.state_dict().items()}
    for prefix, module, optimizer in _optimizers(state):
        for name, parameter in module.named_parameters():
            for field, value in _moments(optimizer, parameter).items():
                tensors[f"{prefix}.{name}.{field}"] = value
    tensors["pl_mean"] = state.pl_mean
    return tensors


def load_training_tensors(
    state: TrainingState, tensors: dict[str, torch.Tensor], where: Path
) -> None:
    """Puts ``training_tensors`` back into a state of the same configuration.

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
                "step": fields["step"].clone(),
                "exp_avg": fields["exp_avg"].to(parameter.device, copy=True),
                "exp_avg_sq": fields["exp_avg_sq"].to(parameter.device, copy=True),
            }
    state.pl_mean = tensors["pl_mean"].to(state.device, copy=True)


def _optimizers(
    state: TrainingState,
) -> tuple[tuple[str, torch.nn.Module, torch.optim.Adam], ...]:
    return (
        ("optimizer_g", state.generator, state.optimizer_g),
        ("optimizer_d", state.discriminator, state.optimizer_d),
    )


def _moments(optimizer: torch.optim.Adam, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
    """Adam's state of one parameter; zeros before its first step."""
    found = optimizer.state.get(parameter)
    if found:
        return {field: found[field] for field in ("step", "exp_avg", "exp_avg_sq")}
    zeros = torch.zeros_like(parameter)
    return {"step": torch.zeros(()), "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
