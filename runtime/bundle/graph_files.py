"""A bundle's graphs as a backend may load them: checked, and against the manifest."""

from __future__ import annotations

from segan.runtime.bundle.layout import noise_sizes
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import Bundle
from segan.runtime.errors import BundleError
from segan.runtime.graphs.check import Interface, InterfaceError, SafeModel, check_model
from segan.runtime.graphs.wire import MalformedModelError

# Shapes of tensors by name, without the batch dimension.
_Shapes = dict[str, tuple[int, ...]]


def read_graph(bundle: Bundle, graph: str, precision: str = "fp32") -> SafeModel:
    """Read one graph of a bundle of unknown origin.

    Args:
        bundle: an open bundle.
        graph: ``mapping``, ``offsets`` or ``synthesis``.
        precision: of the synthesis graph; one that the manifest has.

    Raises:
        BundleError: the file is missing or altered, or ``check_model`` refuses it.
    """
    graphs = bundle.manifest.graphs
    file = graphs.synthesis[precision] if graph == "synthesis" else getattr(graphs, graph)
    try:
        return check_model(bundle.read(file), graph_interfaces(bundle.manifest)[graph])
    except InterfaceError as error:
        problem, expected = error.problem, error.expected
    except MalformedModelError as error:
        problem, expected = f"({file}) is refused: {error}", ""
    raise BundleError(
        f"{bundle.path}: the {graph} graph {problem}",
        field="bundle",
        value=bundle.path,
        expected=expected,
        remedy="Do not use this bundle, or export it again.",
    )


def graph_interfaces(manifest: Manifest) -> dict[str, Interface]:
    """Return what each graph takes and gives, as the manifest requires it."""
    sites = manifest.num_sites
    ws = (sites, manifest.w_dim)
    coords = (manifest.num_subspaces, manifest.coords_dim)
    mapping: _Shapes = {"z": (manifest.z_dim,)}
    offsets: _Shapes = {"w": ws, "psi": (sites,)}
    offsets_out: _Shapes = {"ws": ws}
    synthesis: _Shapes = {"ws": ws}
    if manifest.c_dim:
        mapping["c"] = (manifest.c_dim,)
    if manifest.num_subspaces:
        offsets["coords"] = coords
        if manifest.mode == 1:
            offsets_out["shifts"] = synthesis["shifts"] = coords
    if manifest.noise is not None:
        synthesis["noise"] = (sum(noise_sizes(manifest.sites)),)
    image = (manifest.img_channels, manifest.resolution, manifest.resolution)
    return {
        "mapping": Interface(inputs=mapping, outputs={"w": (manifest.w_dim,)}, pixels=1),
        "offsets": Interface(inputs=offsets, outputs=offsets_out, pixels=sites),
        "synthesis": Interface(
            inputs=synthesis, outputs={"image": image}, pixels=manifest.resolution**2
        ),
    }
