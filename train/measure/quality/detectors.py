"""The networks that images are compared by, behind one interface, and the set of one run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segan.runtime.errors import DataError
from segan.train.measure.control.attribute_files import (
    LoadedAttributes,
    attributes_for,
    load_attributes,
)
from segan.train.measure.control.attributes import AttributeNetwork, average_down
from segan.train.measure.quality.detector_files import DetectorFile, detector_file, where_to_place
from segan.train.measure.quality.features import DetectorKind
from segan.train.measure.quality.record import DetectorRecord
from segan.train.networks.torchscript import first_line, load_torchscript

Output = Literal["features", "probabilities"]


class Detector(Protocol):
    """A network that images are compared by.

    Attributes:
        record: its name and sha256.
        resize: how it resizes images of another size, in words.
    """

    record: DetectorRecord
    resize: str

    def __call__(self, images: torch.Tensor, output: Output) -> torch.Tensor:
        """Return float32 [N, D] for images [N, 3, H, W] uint8, on the images' device."""
        ...


class TorchScriptDetector:
    """A published TorchScript network, called as StyleGAN2-ADA calls it.

    ``network(images, return_features=True)`` gives features, ``network(images,
    no_output_bias=True)`` class probabilities (softmax without the last layer's bias), and
    ``network(images, resize_images=False, return_lpips=True)`` LPIPS features.

    Args:
        file: on this machine.
        kind: ``inception`` or ``vgg16``.
        device: where it computes.

    Raises:
        DataError: the file is not TorchScript.
    """

    resize = "by the detector"

    def __init__(self, file: DetectorFile, kind: DetectorKind, device: torch.device) -> None:
        self._path, self._kind = file.path, kind
        self._network: Any = load_torchscript(file.path, device, remedy=where_to_place(kind))
        self.record = DetectorRecord(name=file.path.name, sha256=file.sha256)

    def __call__(self, images: torch.Tensor, output: Output) -> torch.Tensor:
        """See ``Detector``."""
        if output == "features":
            return self._run(images, return_features=True)
        return self._run(images, no_output_bias=True)

    def lpips(self, images: torch.Tensor) -> torch.Tensor:
        """Return features [N, F] whose squared distance is LPIPS.

        Args:
            images: [N, 3, H, W] from 0 to 255.
        """
        return self._run(images, resize_images=False, return_lpips=True)

    def _run(self, images: torch.Tensor, **options: bool) -> torch.Tensor:
        try:
            found = self._network(images, **options)
        except (RuntimeError, TypeError) as error:
            raise self._unfit(
                f"cannot be called with {', '.join(options)} ({first_line(error)})"
            ) from None
        if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != len(images):
            raise self._unfit("does not return [N, D] for N images")
        return found.float()

    def _unfit(self, problem: str) -> DataError:
        return DataError(
            f"{self._path} {problem}",
            field="detector",
            value=str(self._path),
            remedy=where_to_place(self._kind),
        )


class FacesDetector:
    """Features of the network that reads the attributes of the built-in faces.

    Args:
        network: in evaluation mode.
        device: where it computes.
    """

    def __init__(self, network: AttributeNetwork, device: torch.device) -> None:
        self.network = network.to(device)
        self._trunk = _without_norms(network.trunk)
        size = network.resolution
        self.resize = f"averaged down to {size} x {size}"
        self.record = DetectorRecord(name=f"faces{size}", sha256=weights_sha256(network))

    def __call__(self, images: torch.Tensor, output: Output) -> torch.Tensor:
        """See ``Detector``."""
        assert output == "features", "the attribute network has no classes"
        return self.features(images.float().div_(127.5).sub_(1))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features [N, D] of images [N, 3, R, R], nominally in [-1, 1]."""
        fitting = average_down(images, self.network.resolution)
        found: torch.Tensor = self.network.hidden(self._trunk(fitting))
        return found


def _without_norms(trunk: nn.Sequential) -> nn.Sequential:
    """Fold each batch norm of the trunk into its convolution: a third less work on a CPU."""
    layers: list[nn.Module] = []
    for layer in trunk:
        if isinstance(layer, nn.Sequential):
            convolution, norm, *rest = layer
            assert isinstance(convolution, nn.Conv2d)
            layers += [fuse_conv_bn_eval(convolution, cast(Any, norm)), *rest]
        else:
            layers.append(layer)
    return nn.Sequential(*layers).eval()


def weights_sha256(network: nn.Module) -> str:
    """Return the sha256 of a network's parameters and buffers, by name and in float32."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(f"{name} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_sha256(name: str, detector: Detector, allowed: Sequence[str]) -> None:
    """Raise DataError unless the detector's sha256 is allowed; an empty list allows all."""
    found = detector.record.sha256
    if allowed and found not in {value.lower() for value in allowed}:
        raise DataError(
            f"{name}: the sha256 of its weights is {found}",
            field="detector_sha256",
            value=found,
            expected=" or ".join(allowed),
            remedy=f"Pass `detector_sha256 {found}` as well, or another network with `detector "
            "faces=FOLDER`.",
        )


class DetectorSet:
    """The detectors of one run, each loaded when it is first used.

    Args:
        device: where they compute.
        resolution: of the images.
        given: files or folders that the user named.
        allowed: sha256 that the user accepts: of a file, or of the attribute network's weights;
            empty accepts all.
        on_fetch: called with a message before a download.
    """

    def __init__(
        self,
        device: torch.device,
        resolution: int,
        given: Mapping[DetectorKind, Path] | None = None,
        allowed: Sequence[str] = (),
        *,
        on_fetch: Callable[[str], None] | None = None,
    ) -> None:
        self.device = device
        self._resolution, self._given, self._allowed = resolution, dict(given or {}), allowed
        self._on_fetch = on_fetch
        self._attributes: LoadedAttributes | None = None
        self._loaded: dict[DetectorKind, TorchScriptDetector | FacesDetector] = {}

    def get(self, kind: DetectorKind) -> Detector:
        """Return a detector. Raises: DataError, ConfigError, CheckpointError."""
        if kind not in self._loaded:
            if kind == "faces":
                detector = FacesDetector(self.attributes().network, self.device)
                check_sha256(f"attribute network {detector.record.name}", detector, self._allowed)
                self._loaded[kind] = detector
            else:
                file = detector_file(kind, self._given, self._allowed, on_fetch=self._on_fetch)
                self._loaded[kind] = TorchScriptDetector(file, kind, self.device)
        return self._loaded[kind]

    def attributes(self) -> LoadedAttributes:
        """Return the attribute network and its record. Raises: ConfigError, CheckpointError."""
        if self._attributes is None:
            own = self._given.get("faces")
            self._attributes = load_attributes(own) if own else attributes_for(self._resolution)
        return self._attributes

    def vgg16(self) -> TorchScriptDetector:
        """Return the detector of LPIPS features. Raises: DataError."""
        return cast(TorchScriptDetector, self.get("vgg16"))

    def faces(self) -> FacesDetector:
        """Return the detector of faces. Raises: ConfigError, CheckpointError."""
        return cast(FacesDetector, self.get("faces"))
