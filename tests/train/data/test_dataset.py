from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from segan.runtime.errors import ConfigError, DataError, OutputError
from segan.train.data.dataset import describe_dataset, open_dataset
from segan.train.data.faces import render as faces_dataset_module
from segan.train.data.faces.attributes import FACE_ATTRIBUTES, sample_attributes
from segan.train.data.faces.draw import draw_faces
from segan.train.data.faces.render import faces_dataset, render_faces
from segan.train.data.training_zip import encode_png, image_name, write_training_zip
from tests.runtime.pictures.hostile_pictures import rgb_profile

if TYPE_CHECKING:
    from tests.conftest import RaisesError

SHARED_SET = Path(__file__).parents[4] / "shared/data/emoji_fluent3d.zip"


def noise(count: int, size: int = 16, channels: int = 3, seed: int = 0) -> npt.NDArray[np.uint8]:
    """[count, size, size, channels] random pixels."""
    shape = (count, size, size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def png(size: tuple[int, int] = (16, 16), mode: str = "RGB") -> bytes:
    data = io.BytesIO()
    PIL.Image.new(mode, size).save(data, "PNG")
    return data.getvalue()


def write_zip(path: Path, files: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_set(
    path: Path, images: npt.NDArray[np.uint8], labels: list[int] | None = None, **extra: Any
) -> Path:
    with write_training_zip(path) as writer:
        for position, image in enumerate(images):
            writer.add(encode_png(image), labels[position] if labels else None)
        writer.describe(**extra)
    return path


def read_as_stylegan2_ada(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any] | None]:
    """Images NCHW and labels by the rules of that project's ImageFolderDataset, written anew."""
    PIL.Image.init()
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        image_names = sorted(
            name for name in names if os.path.splitext(name)[1].lower() in PIL.Image.EXTENSION
        )
        images = []
        for name in image_names:
            with archive.open(name) as file:
                image = np.array(PIL.Image.open(file))
            image = image[:, :, np.newaxis] if image.ndim == 2 else image
            images.append(image.transpose(2, 0, 1))
        with archive.open("dataset.json") as file:
            pairs = json.load(file)["labels"]
        if pairs is None:
            return np.stack(images), None
        table = dict(pairs)
        labels = np.array([table[name.replace("\\", "/")] for name in image_names])
        assert labels.dtype == np.int64
        return np.stack(images), labels


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_what_is_written_is_read(tmp_path: Path, channels: int) -> None:
    images = noise(5, 8, channels)
    path = write_set(tmp_path / "a.zip", images, [0, 2, 1, 2, 0], class_names=["x", "y", "z"])
    dataset = open_dataset(path)
    np.testing.assert_array_equal(dataset.images, images.transpose(0, 3, 1, 2))
    assert (dataset.name, dataset.resolution, dataset.img_channels) == ("a", 8, channels)
    assert dataset.labels is not None
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.tolist() == [0, 2, 1, 2, 0]
    assert dataset.class_names == ("x", "y", "z")
    assert len(dataset) == 5


@pytest.mark.parametrize("labels", [None, [3, 0, 1, 2, 0, 0]])
def test_the_layout_is_stylegan2_adas(tmp_path: Path, labels: list[int] | None) -> None:
    images = noise(6)
    path = write_set(tmp_path / "a.zip", images, labels)
    read, read_labels = read_as_stylegan2_ada(path)
    np.testing.assert_array_equal(read, images.transpose(0, 3, 1, 2))
    assert (None if read_labels is None else read_labels.tolist()) == labels
    with zipfile.ZipFile(path) as archive:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        assert archive.namelist()[0] == "00000/img00000000.png"
        assert archive.testzip() is None


@pytest.mark.parametrize("position", [0, 999, 1000, 123_456, 99_999_999])
def test_image_names_are_stylegan2_adas(position: int) -> None:
    digits = f"{position:08d}"
    assert image_name(position) == f"{digits[:5]}/img{digits}.png"


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_set(tmp_path / "a.zip", noise(4)).read_bytes()
    os.utime(tmp_path / "a.zip", (0, 0))
    assert write_set(tmp_path / "b.zip", noise(4)).read_bytes() == first


def test_a_crash_leaves_no_zip(tmp_path: Path) -> None:
    def crash() -> None:
        with write_training_zip(tmp_path / "a.zip") as writer:
            writer.add(encode_png(noise(1)[0]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()
    assert list(tmp_path.iterdir()) == []


def test_a_zip_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*a.zip: there is a file where a folder"):
        write_set(tmp_path / "file" / "a.zip", noise(1))


def test_a_folder_in_the_layout_is_the_same_set(tmp_path: Path) -> None:
    path = write_set(tmp_path / "a.zip", noise(3), [0, 1, 1])
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "a")
    assert open_dataset(tmp_path / "a").fingerprint == open_dataset(path).fingerprint


def test_plain_images_are_a_set_in_the_order_of_their_names(tmp_path: Path) -> None:
    images = noise(3)
    files: dict[str, bytes | str] = {
        f"{name}.png": encode_png(image) for name, image in zip("cab", images, strict=True)
    }
    path = write_zip(tmp_path / "a.zip", {**files, "README.md": "hello", ".hidden.png": "no image"})
    np.testing.assert_array_equal(
        open_dataset(path).images, images[[1, 2, 0]].transpose(0, 3, 1, 2)
    )
    assert open_dataset(path).labels is None


def test_the_fingerprint_covers_images_and_labels(tmp_path: Path) -> None:
    images = noise(3)
    other = images.copy()
    other[2, 5, 5, 0] ^= 1
    path = tmp_path / "a.zip"
    found = [
        open_dataset(write_set(path, pixels, labels)).fingerprint
        for pixels, labels in [
            (images, None),
            (images, None),
            (other, None),
            (images, [0, 1, 0]),
            (images, [0, 1, 1]),
        ]
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 4
    digest = hashlib.sha256(b"(3, 3, 16, 16)" + images.transpose(0, 3, 1, 2).tobytes())
    assert found[0] == digest.hexdigest()


def test_a_set_is_described_by_its_first_image(tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    render_faces(path, count=3, resolution=16)
    assert describe_dataset(path) == {
        "name": "faces",
        "count": 3,
        "resolution": 16,
        "img_channels": 3,
        "num_classes": 0,
        "class_names": [],
        "class_counts": {},
        "attributes": [attribute.name for attribute in FACE_ATTRIBUTES],
        "passed_over": {},
    }
    labelled = describe_dataset(write_set(tmp_path / "b.zip", noise(2), [0, 1]))
    assert labelled["class_names"] == ["0", "1"]
    assert labelled["attributes"] == []


def test_rendered_faces_carry_their_attributes(tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    steps: list[int] = []
    render_faces(path, count=7, resolution=32, seed=3, on_progress=steps.append)
    assert sum(steps) == 7
    dataset = open_dataset(path)
    with zipfile.ZipFile(path) as archive:
        content = json.loads(archive.read("dataset.json"))
    assert content["labels"] is None
    assert content["attributes"]["seed"] == 3
    assert [entry["name"] for entry in content["attributes"]["schema"]] == list(
        content["attributes"]["values"]
    )
    # The values alone draw the images again, exactly.
    again = draw_faces(content["attributes"]["values"], 32)
    np.testing.assert_array_equal(dataset.images, again.transpose(0, 3, 1, 2))
    sampled = sample_attributes(3, 0, 7)
    assert content["attributes"]["values"] == {
        name: column.tolist() for name, column in sampled.items()
    }
    assert faces_dataset(7, 32, 3).fingerprint == dataset.fingerprint


@pytest.mark.parametrize("attribute", ["glasses", "fringe"])
def test_faces_are_labelled_by_an_attribute(tmp_path: Path, attribute: str) -> None:
    render_faces(tmp_path / "a.zip", count=9, resolution=8, seed=4, labels=attribute)
    found, drawn = open_dataset(tmp_path / "a.zip"), faces_dataset(9, 8, 4, labels=attribute)
    values = {entry.name: entry.values for entry in FACE_ATTRIBUTES}[attribute]
    for dataset in (found, drawn):
        assert dataset.class_names == values
        assert dataset.labels is not None
        assert dataset.labels.tolist() == sample_attributes(4, 0, 9)[attribute].tolist()
    assert found.fingerprint == drawn.fingerprint
    plain = faces_dataset(9, 8, 4)
    assert plain.fingerprint != found.fingerprint
    np.testing.assert_array_equal(plain.images, found.images)


def test_faces_have_few_labels(tmp_path: Path, raises_error: RaisesError) -> None:
    for make in (
        lambda: faces_dataset(2, 8, labels="smile"),
        lambda: render_faces(tmp_path / "a.zip", count=2, resolution=8, labels="smile"),
    ):
        with raises_error(ConfigError, field="labels", value="smile", expected="fringe or glasses"):
            make()
    assert list(tmp_path.iterdir()) == []


def test_faces_that_do_not_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces_dataset_module, "free_memory", lambda: 1 << 20)
    with pytest.raises(DataError, match=r"6000 faces of 8² need .*segan data render .*6000"):
        faces_dataset(6000, 8)


def test_rendering_again_gives_the_same_bytes_and_longer_sets_agree(tmp_path: Path) -> None:
    for name, count in [("a", 5), ("b", 5), ("c", 9)]:
        render_faces(tmp_path / f"{name}.zip", count=count, resolution=16)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    short, long = (open_dataset(tmp_path / f"{name}.zip").images for name in "ac")
    np.testing.assert_array_equal(short, long[:5])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"count": 0}, "1 to 99999999"),
        ({"resolution": 100}, "a power of two from 8 to 1024, such as 64"),
        ({"seed": -1}, "0 to 4294967295"),
    ],
)
def test_rendering_checks_its_arguments(
    tmp_path: Path, arguments: dict[str, Any], expected: str, raises_error: RaisesError
) -> None:
    ((field, value),) = arguments.items()
    with raises_error(ConfigError, field=field, value=value, expected=expected):
        render_faces(tmp_path / "new" / "faces.zip", **arguments)
    assert list(tmp_path.iterdir()) == []


def bomb(width: int, height: int) -> bytes:
    """A PNG of which only the header and a little of the pixels are there."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000)))]:
        data += struct.pack(">I", len(content)) + kind + content
        data += struct.pack(">I", zlib.crc32(kind + content))
    return data


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "contains no images"),
        ({"a.txt": "x"}, "contains no images"),
        ({"a.png": ""}, "a.png in .* is empty"),
        ({"a.png": "hello"}, "a.png in .* is not a whole image"),
        ({"a.png": png()[:50]}, "a.png in .* is not a whole image"),
        ({"a.png": png(), "b.png": "hello"}, "b.png in .* is not a whole image"),
        (
            {"a.png": bomb(20_000, 20_000)},
            "a.png in .* is too large; expected at most 50,331,648 pixels",
        ),
        (
            {"a.png": bomb(14_000, 14_000)},
            "a.png in .* is too large; expected at most 50,331,648 pixels",
        ),
        ({"a.png": png(), "b.png": png((32, 32))}, "b.png in .* is 32 x 32 RGB; expected 16 x 16"),
        (
            {"a.png": png(), "b.png": png(mode="L")},
            "b.png in .* is 16 x 16 L; .*segan data convert",
        ),
        ({"a.png": png((16, 8))}, "a.png in .* is 16 x 8; expected square.*segan data convert"),
        ({"a.png": png((24, 24))}, "is 24 x 24; expected a power of two from 8 to 1024"),
        ({"a.png": png((4, 4))}, "is 4 x 4; expected a power of two"),
        ({"a.png": png((2048, 2048), "L")}, "is 2048 x 2048; expected a power of two"),
        ({"a.png": png(mode="P")}, "a.png in .* mode P; expected L, LA, RGB .*segan data convert"),
    ],
)
def test_images_that_cannot_be_used_are_named(
    tmp_path: Path, files: dict[str, bytes | str], message: str
) -> None:
    path = write_zip(tmp_path / "a.zip", files)
    with pytest.raises(DataError, match=f"(?s){message}"):
        open_dataset(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "dataset.json in .* is not JSON"),
        (b"\xff\xfe\xfd", "dataset.json in .* is not JSON"),
        (b'{"labels": [["\x9e.png", 0]]}', "dataset.json in .* is not JSON"),
        ("[" * 100_000, "dataset.json in .* is not JSON"),
        ("[]", "contains no object"),
        ({"labels": 3}, "broken labels; expected a list"),
        (
            {"labels": [["a.png", 0], ["b.png", 0], ["c.png", 1]]},
            "1 images that do not exist.* c.png",
        ),
        ({"labels": [["a.png", 0]]}, "no label for 1 of 2 images, such as b.png"),
        ({"labels": []}, "no label for 2 of 2 images"),
        ({"labels": [["a.png", -1], ["b.png", 0]]}, "gives a.png the label -1; expected 0 to"),
        ({"labels": [["a.png", 10**9], ["b.png", 0]]}, "gives a.png the label 1000000000"),
        ({"labels": [["a.png", 0.5], ["b.png", 0]]}, "expected .name, class. with a whole number"),
        ({"labels": [["a.png", True], ["b.png", 0]]}, "expected .name, class. with a whole"),
        ({"labels": [["a.png", [1.0]], ["b.png", 0]]}, "expected .name, class. with a whole"),
        ({"labels": [["a.png", 0], ["a.png", 1], ["b.png", 0]]}, "gives a.png two labels"),
        ({"labels": [["a.png", 0], ["b.png", 2]], "class_names": ["x", "y"]}, "label 2; .* 0 to 1"),
        ({"labels": [["a.png", 0], ["b.png", 0]], "class_names": [1]}, "broken class_names"),
        (
            {"labels": [["a.png", 0], ["b.png", 0]], "class_names": ["x" * 301]},
            "names a class with 301 characters; expected at most 300",
        ),
        (
            {"labels": [["a.png", 0], ["b.png", 1]], "class_names": ["x", "y", "x"]},
            "names 2 classes 'x'; expected a different name for each",
        ),
    ],
)
def test_labels_that_do_not_fit_are_explained(tmp_path: Path, content: Any, message: str) -> None:
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path = write_zip(tmp_path / "a.zip", {"a.png": png(), "b.png": png(), "dataset.json": text})
    for read in (open_dataset, describe_dataset):
        with pytest.raises(DataError, match=f"(?s){message}"):
            read(path)


def test_labels_of_a_wrapped_set(tmp_path: Path) -> None:
    labels = {"labels": [["a.png", 1], ["set/b.png", 0]], "class_names": ["x", "y"]}
    files: dict[str, bytes | str] = {"set/a.png": png(), "set/b.png": png()}
    path = write_zip(tmp_path / "a.zip", {**files, "set/dataset.json": json.dumps(labels)})
    for encoding in ("utf-8-sig", "utf-16"):
        text = json.dumps(labels).encode(encoding)
        write_zip(tmp_path / f"{encoding}.zip", {**files, "set/dataset.json": text})
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "folder")
    for name in ("a.zip", "utf-8-sig.zip", "utf-16.zip", "folder"):
        dataset = open_dataset(tmp_path / name)
        assert dataset.labels is not None
        assert (dataset.labels.tolist(), dataset.class_names) == ([1, 0], ("x", "y"))


def test_other_files_are_counted(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {"a.png": png(), "b.txt": "x", "c.TXT": "x", ".d.png": "x"})
    found = describe_dataset(tmp_path / "a.zip")["passed_over"]
    assert found == {".txt": 2, "hidden": 1}
    assert [str(kind) for kind in open_dataset(tmp_path / "a.zip").passed_over] == [
        "2 .txt (b.txt, c.TXT)",
        "1 hidden (.d.png)",
    ]


def test_colours_are_those_of_srgb(tmp_path: Path) -> None:
    profile = rgb_profile(np.eye(3) * (0.9642, 1.0, 0.8249), 1.0)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, options in [("a", {"icc_profile": profile}), ("b", {})]:
            data = io.BytesIO()
            PIL.Image.new("RGB", (8, 8), (55, 55, 55)).save(data, "PNG", **options)
            archive.writestr(f"{name}.png", data.getvalue())
    first, second = open_dataset(tmp_path / "a.zip").images[:, :, 0, 0].tolist()
    # Linear light of 55/255 is 0.2157, which sRGB writes as 128.
    np.testing.assert_allclose(first, [128] * 3, atol=1)
    assert second == [55] * 3


def test_a_missing_set_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.zip does not exist.*segan data render"):
        open_dataset(tmp_path / "none.zip")


def test_an_empty_folder_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="contains no images"):
        open_dataset(tmp_path)
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"a.zip is not a whole zip file"):
        open_dataset(tmp_path / "a.zip")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_zip_is_refused(tmp_path: Path, share: float) -> None:
    path = write_set(tmp_path / "a.zip", noise(20))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match="is not a whole zip file"):
        open_dataset(path)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = write_set(tmp_path / "a.zip", noise(3))
    data = bytearray(path.read_bytes())
    data[500] ^= 16
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"img00000000.png in .* is damaged"):
        open_dataset(path)


@pytest.mark.skipif(not SHARED_SET.exists(), reason="the set is not here")
def test_a_plain_zip_of_pictures_works_directly() -> None:
    described = describe_dataset(SHARED_SET)
    assert (described["resolution"], described["img_channels"]) == (64, 3)
