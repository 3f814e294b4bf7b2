"""Small generators whose every parameter matters."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def make_generator() -> Callable[..., Any]:
    """Builds a generator; ``mode``, ``kind``, ``dims``, ``placement`` go to the subspaces."""
    import torch

    from segan.train.networks.config import NetworkConfig, SubspaceConfig
    from segan.train.networks.stylegan2.generator import Generator

    def build(*, seed: int = 0, **settings: Any) -> Generator:
        names = {"mode", "kind", "dims", "placement"}
        subspace = {key: settings.pop(key) for key in names & set(settings)}
        shape = {"resolution": 8, "z_dim": 6, "w_dim": 8, "channel_max": 4, "mapping_layers": 2}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = NetworkConfig(**shape | settings)
            generator = Generator(network, SubspaceConfig(**{"dims": 3} | subspace))
            # Fresh networks have biases, means and noise strengths of 0: they would hide mistakes.
            with torch.no_grad():
                for value in generator.parameters():
                    value.add_(torch.randn_like(value) * 0.2)
                generator.w_avg.normal_()
        return generator.eval().requires_grad_(False)

    return build


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """The networks here are too small for more threads."""
    torch = pytest.importorskip("torch", reason="needs torch; the bare environment has none")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def foreign_models() -> ModuleType:
    """The module foreign_models.py: random generators of other projects' layouts."""
    pytest.importorskip("torch", reason="needs torch; the bare environment has none")
    path = Path(__file__).with_name("foreign_models.py")
    spec = importlib.util.spec_from_file_location("foreign_models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
