from __future__ import annotations

import hashlib
import http.client
import io
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segan.runtime.errors import ConfigError, DataError
from segan.train.measure.control.attribute_files import load_attributes, save_attributes
from segan.train.measure.control.attribute_training import HeldOutScores
from segan.train.measure.control.attributes import AttributeNetwork
from segan.train.measure.quality.detector_files import (
    PUBLISHED,
    PublishedFile,
    detector_file,
    read_detector_options,
)
from segan.train.measure.quality.detectors import (
    DetectorSet,
    FacesDetector,
    TorchScriptDetector,
    weights_sha256,
)
from segan.train.measure.quality.features import DetectorKind

Write = Callable[..., Path]


def serve(monkeypatch: pytest.MonkeyPatch, data: bytes | Exception) -> list[str]:
    """Answers every request with these bytes, or fails; gives the addresses asked for."""
    asked: list[str] = []

    def urlopen(url: str, timeout: float) -> Any:
        asked.append(url)
        if isinstance(data, Exception):
            raise data
        return io.BytesIO(data)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def publish(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    published = PublishedFile(
        "inception-2015-12-05.pt",
        PUBLISHED["inception"].url,
        hashlib.sha256(data).hexdigest(),
        "1 kB",
    )
    monkeypatch.setitem(PUBLISHED, "inception", published)


def test_the_published_file_is_fetched_once(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    publish(monkeypatch, b"network")
    asked = serve(monkeypatch, b"network")
    told: list[str] = []
    found = detector_file("inception", {}, on_fetch=told.append)
    assert found.path == own_cache / "detectors" / "inception-2015-12-05.pt"
    assert found.path.read_bytes() == b"network"
    assert asked == [PUBLISHED["inception"].url]
    assert "fetching https://" in told[0]
    assert detector_file("inception", {}) == found
    assert len(asked) == 1


def test_bytes_with_another_hash_are_not_kept(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path, raises_error: Callable[..., Any]
) -> None:
    publish(monkeypatch, b"network")
    serve(monkeypatch, b"something else")
    with raises_error(DataError, field="detector_sha256", expected=PUBLISHED["inception"].sha256):
        detector_file("inception", {})
    assert list((own_cache / "detectors").iterdir()) == []


def test_without_a_network_the_message_says_what_to_place_where(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    serve(monkeypatch, urllib.error.URLError("no route"))
    with pytest.raises(DataError) as caught:
        detector_file("vgg16", {})
    message = str(caught.value)
    assert "no route" in message
    assert PUBLISHED["vgg16"].url in message
    assert str(own_cache / "detectors" / "vgg16.pt") in message
    assert "detector=FILE" in message


@pytest.mark.parametrize(
    "error",
    [
        http.client.IncompleteRead(b"part", 100),
        ssl.SSLError("bad record"),
        OSError(5, "Input/output error"),
        TimeoutError("timed out"),
    ],
)
def test_a_transfer_that_breaks_off_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
    own_cache: Path,
    error: Exception,
    raises_error: Callable[..., Any],
) -> None:
    class Reply(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise error
            return super().read(4)

    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Reply(b"some bytes"))
    with raises_error(DataError, field="detector") as caught:
        detector_file("vgg16", {})
    assert str(own_cache / "detectors" / "vgg16.pt") in str(caught.value)
    assert list((own_cache / "detectors").iterdir()) == []


def test_a_sha256_is_demanded_of_the_attribute_network_too(
    tmp_path: Path, raises_error: Callable[..., Any]
) -> None:
    device = torch.device("cpu")
    shipped = DetectorSet(device, 16).get("faces").record.sha256
    assert DetectorSet(device, 16, allowed=["0" * 64, shipped.upper()]).get("faces")
    with raises_error(DataError, field="detector_sha256", value=shipped, expected="0" * 64):
        DetectorSet(device, 16, allowed=["0" * 64]).get("faces")
    network = AttributeNetwork(16).eval()
    save_attributes(
        tmp_path / "net",
        network,
        faces=1,
        seed=0,
        epochs=1,
        held_out=1,
        scores=HeldOutScores({}, {}),
    )
    given: dict[DetectorKind, Path] = {"faces": tmp_path / "net"}
    kept = load_attributes(tmp_path / "net").network  # in half precision
    with raises_error(DataError, field="detector_sha256", expected=shipped):
        DetectorSet(device, 16, given, [shipped]).get("faces")
    assert DetectorSet(device, 16, given, [weights_sha256(kept)]).get("faces")


def test_a_kept_file_with_another_hash_is_refused(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path, raises_error: Callable[..., Any]
) -> None:
    publish(monkeypatch, b"network")
    serve(monkeypatch, b"network")
    path = detector_file("inception", {}).path
    path.write_bytes(b"changed")
    with raises_error(
        DataError,
        field="detector_sha256",
        value=hashlib.sha256(b"changed").hexdigest(),
        expected=PUBLISHED["inception"].sha256,
    ):
        detector_file("inception", {})


def test_a_named_file_is_taken_unless_another_hash_is_demanded(
    tmp_path: Path, raises_error: Callable[..., Any]
) -> None:
    path = tmp_path / "my.pt"
    path.write_bytes(b"mine")
    own = hashlib.sha256(b"mine").hexdigest()
    assert detector_file("inception", {"inception": path}).sha256 == own
    assert detector_file("inception", {"inception": path}, [own.upper()]).sha256 == own
    with raises_error(DataError, field="detector_sha256", value=own, expected="0" * 64):
        detector_file("inception", {"inception": path}, ["0" * 64])
    with raises_error(DataError, field="detector", value=str(tmp_path / "none.pt")):
        detector_file("inception", {"inception": tmp_path / "none.pt"})


def test_options_name_kinds(raises_error: Callable[..., Any]) -> None:
    assert read_detector_options(["a/vgg16.pt", "inception-2015-12-05.pt"], []) == {
        "vgg16": Path("a/vgg16.pt"),
        "inception": Path("inception-2015-12-05.pt"),
    }
    assert read_detector_options(["x.pt"], ["vgg16", "vgg16"]) == {"vgg16": Path("x.pt")}
    assert read_detector_options(["inception=x.pt", "faces=dir"], []) == {
        "inception": Path("x.pt"),
        "faces": Path("dir"),
    }
    kinds: list[DetectorKind] = ["vgg16", "inception"]
    for items, wanted, value, expected in (
        (["x.pt"], kinds, "x.pt", "inception or vgg16"),
        (["x.pt"], [], "x.pt", "inception or vgg16"),
        (["resnet=x.pt"], [], "resnet=x.pt", "inception, vgg16 or faces"),
        (["vgg16.pt", "vgg=b.pt"], [], "vgg=b.pt", "one file"),
    ):
        with raises_error(ConfigError, field="detector", value=value, expected=expected):
            read_detector_options(items, wanted)


def test_a_torchscript_file_is_called_as_published(detector_file: Write) -> None:
    path = detector_file("inception.pt", 8, 6)
    detectors = DetectorSet(torch.device("cpu"), 8, {"inception": path})
    detector = detectors.get("inception")
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    assert detector(images, "features").shape == (5, 6)
    chances = detector(images, "probabilities")
    torch.testing.assert_close(chances.sum(1), torch.ones(5))
    assert detector.record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert detectors.get("inception") is detector


def test_files_that_are_no_detector(tmp_path: Path, raises_error: Callable[..., Any]) -> None:
    import pickle
    import warnings

    class Trap:
        def __reduce__(self) -> Any:
            return (print, ("a pickle was executed",))

    bad = tmp_path / "bad.pt"
    bad.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match="not TorchScript"):
        DetectorSet(torch.device("cpu"), 8, {"inception": bad}).get("inception")
    other = tmp_path / "other.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Flatten()).save(str(other))
    detector = DetectorSet(torch.device("cpu"), 8, {"inception": other}).get("inception")
    assert isinstance(detector, TorchScriptDetector)
    with raises_error(DataError, field="detector", value=str(other)):
        detector(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "features")


@pytest.mark.parametrize("resolution", [16, 32, 64])
def test_the_faces_detector_is_the_networks_own_features(resolution: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AttributeNetwork(resolution)
        images = torch.randint(0, 256, (20, 3, 64, 64), dtype=torch.uint8)
        scaled = images.float() / 127.5 - 1
        network(scaled)  # batch norms with statistics of their own
        network.eval().requires_grad_(False)
    detector = FacesDetector(network, torch.device("cpu"))
    with torch.inference_mode():
        found = detector(images, "features")
    torch.testing.assert_close(found, network.features(scaled), rtol=1e-4, atol=1e-5)
    assert detector.record.name == f"faces{resolution}"
    other = AttributeNetwork(resolution).eval()
    assert FacesDetector(other, torch.device("cpu")).record.sha256 != detector.record.sha256
