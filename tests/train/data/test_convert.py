from __future__ import annotations

import gzip
import io
import json
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pytest

from segan.runtime.errors import ConfigError, DataError, OutputError
from segan.train.data.convert import convert_images
from segan.train.data.dataset import ImageDataset, open_dataset
from segan.train.data.faces.render import render_faces
from segan.train.data.sources import natural_key
from segan.train.data.training_zip import encode_png, write_training_zip

if TYPE_CHECKING:
    from tests.conftest import RaisesError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encode(image: PIL.Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def plain(color: Any, mode: str = "RGB", size: tuple[int, int] = (16, 16)) -> PIL.Image.Image:
    return PIL.Image.new(mode, size, color)


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def convert(source: Path, out: Path, **options: Any) -> ImageDataset:
    convert_images(source, out, **{"resolution": 8, **options})
    return open_dataset(out)


def colors(dataset: ImageDataset) -> list[tuple[int, ...]]:
    """Top left pixel of each image."""
    return [tuple(image[:, 0, 0].tolist()) for image in dataset.images]


def test_names_sort_naturally() -> None:
    names = ["b/2.png", "a/img10.png", "a/img2.png", "a/img02.png", "10.png", "9.png"]
    assert sorted(names, key=natural_key) == [
        *("9.png", "10.png", "a/img02.png", "a/img2.png", "a/img10.png", "b/2.png")
    ]


def test_a_folder_is_read_recursively_in_natural_order(tmp_path: Path) -> None:
    source = write_folder(
        tmp_path / "in",
        {
            "img10.png": encode(plain(BLUE)),
            "img9.png": encode(plain(GREEN)),
            "deep/er/a.PNG": encode(plain(RED)),
            ".hidden/a.png": b"x",
            "._a.png": b"x",
            "__MACOSX/a.png": b"x",
            "notes.txt": b"x",
        },
    )
    dataset = convert(source, tmp_path / "out.zip")
    assert colors(dataset) == [RED, GREEN, BLUE]
    assert dataset.labels is None


def test_links_do_not_lead_out_of_a_folder(tmp_path: Path, raises_error: RaisesError) -> None:
    secret = write_folder(tmp_path / "secret", {"b.png": encode(plain(BLUE))})
    source = write_folder(tmp_path / "in", {"a.png": encode(plain(RED))})
    os.symlink(source / "a.png", source / "c.png")
    os.mkfifo(source / "d.png")  # reading it would wait forever
    result = convert_images(source, tmp_path / "out.zip", resolution=8)
    assert [(kind.kind, kind.names) for kind in result.passed_over] == [
        ("pipe or device", ["d.png"])
    ]
    assert colors(open_dataset(tmp_path / "out.zip")) == [RED, RED]
    os.symlink(secret / "b.png", source / "b.png")
    result = convert_images(source, tmp_path / "out.zip", resolution=8)
    assert [name for name, _ in result.skipped] == ["b.png"]
    with raises_error(DataError, field="path", value=source, problem="b.png is a link that leads"):
        convert(source, tmp_path / "out.zip", on_bad="fail")


def test_a_linked_folder_is_followed_inside_the_source_alone(
    tmp_path: Path, raises_error: RaisesError
) -> None:
    files = {"cat/1.png": encode(plain(RED)), ".all/2.png": encode(plain(BLUE))}
    source = write_folder(tmp_path / "in", files)
    os.symlink(".all", source / "dog")
    os.symlink(".", source / "round")
    os.symlink("..", source / ".all" / "up")
    result = convert_images(source, tmp_path / "out.zip", resolution=8)
    assert result.class_counts == {"cat": 1, "dog": 1}
    kinds = {kind.kind: kind.names for kind in result.passed_over}
    assert kinds["linked folder"] == ["dog/up", "round"]
    assert kinds["hidden"] == [".all/"]
    write_folder(tmp_path / "secret", {"3.png": encode(plain(GREEN))})
    os.symlink(tmp_path / "secret", source / "fox")
    for read in (open_dataset, lambda path: convert_images(path, tmp_path / "out.zip")):
        with raises_error(DataError, field="path", value=source, problem="fox in "):
            read(source)
    result = convert_images(source, tmp_path / "out.zip", resolution=8, on_bad="skip")
    assert (result.count, [name for name, _ in result.skipped]) == (2, ["fox"])


def test_a_name_that_stands_twice_in_a_zip(tmp_path: Path) -> None:
    source = tmp_path / "in.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("a.png", encode(plain(RED)))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", encode(plain(BLUE)))
    with pytest.raises(DataError, match=r"holds a\.png twice"):
        convert(source, tmp_path / "out.zip")


def test_a_zip_is_read_and_odd_entries_are_left_out(tmp_path: Path) -> None:
    source = tmp_path / "in.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("sub")
        archive.writestr("sub/2.png", encode(plain(GREEN)))
        archive.writestr("sub/10.jpg", encode(plain(RED), "JPEG", quality=100))
        for name in ("../up.png", "/root.png", "a/../../b.png", "__MACOSX/x.png", ".x.png", "x.md"):
            archive.writestr(name, b"not an image")
        link = zipfile.ZipInfo("link.png")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    dataset = convert(source, tmp_path / "out.zip")
    assert len(dataset) == 2
    assert colors(dataset)[0] == GREEN


def test_a_training_zip_keeps_labels_and_attributes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    with write_training_zip(tmp_path / "in.zip") as writer:
        for image, label in zip(pixels, (1, 0, 1), strict=True):
            writer.add(encode_png(image), label)
        writer.describe(class_names=["cat", "dog"])
    dataset = convert(tmp_path / "in.zip", tmp_path / "out.zip", resolution=16)
    assert dataset.fingerprint == open_dataset(tmp_path / "in.zip").fingerprint
    assert dataset.class_names == ("cat", "dog")
    dropped = convert(tmp_path / "in.zip", tmp_path / "out.zip", labels="none")
    assert dropped.labels is None

    render_faces(tmp_path / "faces.zip", count=4, resolution=32)
    convert(tmp_path / "faces.zip", tmp_path / "small.zip", resolution=16)
    contents = []
    for name in ("faces", "small"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
            contents.append(json.loads(archive.read("dataset.json")))
    assert contents[0]["attributes"] == contents[1]["attributes"]


@pytest.mark.parametrize("shared", ["", "photos/", "a/b/"])
@pytest.mark.parametrize("labels", ["auto", "folders"])
def test_folders_become_labels(tmp_path: Path, shared: str, labels: str) -> None:
    files = {
        f"{shared}dog/1.png": encode(plain(RED)),
        f"{shared}cat/2.png": encode(plain(GREEN)),
        f"{shared}dog/deep/3.png": encode(plain(BLUE)),
    }
    dataset = convert(write_folder(tmp_path / "in", files), tmp_path / "out.zip", labels=labels)
    assert dataset.labels is not None
    by_color = dict(zip(colors(dataset), dataset.labels.tolist(), strict=True))
    assert by_color == {RED: 1, GREEN: 0, BLUE: 1}
    assert dataset.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    "names", [("00000/a.png", "01000/b.png"), ("cat/a.png", "b.png"), ("cat/a.png", "cat/b.png")]
)
def test_auto_does_not_take_every_folder_for_a_class(tmp_path: Path, names: list[str]) -> None:
    source = write_folder(tmp_path / "in", {name: encode(plain(RED)) for name in names})
    assert convert(source, tmp_path / "out.zip").labels is None


@pytest.mark.parametrize(
    ("names", "metadata", "note"),
    [
        (("cat/a.png", "dog/b.png", "c.png"), None, "1 image lies outside of them, such as c.png"),
        (("0/a.png", "1/b.png"), None, "`labels folders`"),
        (("0/a.png", "dog/b.png"), None, "`labels folders`"),
        (("a.png", "b.png"), {"label": [["a.png", 0]]}, "no 'labels' but 'label'"),
        (("a.png", "b.png"), {}, "states no 'labels'"),
        (("a.png", "b.png"), {"labels": None}, ""),
        (("cat/a.png", "cat/b.png"), None, ""),
        (("a.png", "b.png"), None, ""),
    ],
)
def test_missing_labels_have_a_reason(
    tmp_path: Path, names: list[str], metadata: dict[str, Any] | None, note: str
) -> None:
    files = {name: encode(plain(RED)) for name in names}
    if metadata is not None:
        files["dataset.json"] = json.dumps(metadata).encode()
    source = write_folder(tmp_path / "in", files)
    result = convert_images(source, tmp_path / "out.zip", resolution=8)
    assert result.class_counts == {}
    assert note in result.label_note
    assert bool(note) == bool(result.label_note)


def test_labels_that_dataset_json_misses_come_from_the_folders(tmp_path: Path) -> None:
    files = {name: encode(plain(RED)) for name in ("cat/a.png", "dog/b.png")}
    source = write_folder(tmp_path / "in", files | {"dataset.json": b'{"label": []}'})
    result = convert_images(source, tmp_path / "out.zip", resolution=8)
    assert result.class_counts == {"cat": 1, "dog": 1}
    assert "'label'" in result.label_note
    for folder in ("cat", "dog"):
        (source / folder / "dataset.json").write_text('{"labels": []}')
    (source / "dataset.json").unlink()
    result = convert_images(source, tmp_path / "out.zip", resolution=8)
    assert result.passed_over[0].count == 2


def test_a_zip_with_windows_paths(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name in ("cat/1.png", "dog/2.png", "../up.png"):
            entry = zipfile.ZipInfo("x")
            entry.filename = name.replace("/", "\\")
            archive.writestr(entry, encode(plain(RED)))
    result = convert_images(tmp_path / "in.zip", tmp_path / "out.zip", resolution=8)
    assert result.class_counts == {"cat": 1, "dog": 1}
    assert [kind.kind for kind in result.passed_over] == ["with a path that leads out"]


def test_frames_and_profiles_are_counted(tmp_path: Path) -> None:
    frames = [plain(color) for color in (RED, GREEN)]
    files = {
        f"{form}.x.{form}": encode(frames[0], form, save_all=True, append_images=frames[1:])
        for form in ("gif", "png", "webp", "tiff", "avif")
    }
    files["still.gif"] = encode(plain(RED), "GIF")
    files["broken.png"] = encode(plain(BLUE), icc_profile=b"no profile at all")
    source = write_folder(tmp_path / "in", files)
    result = convert_images(source, tmp_path / "out.zip", resolution=8)
    assert result.notes == {"first frame": 5, "profile ignored": 1}
    assert (0, 0, 255) in colors(open_dataset(tmp_path / "out.zip"))


def test_labels_by_folder_need_a_folder_for_each_image(tmp_path: Path) -> None:
    files = {"cat/a.png": encode(plain(RED)), "b.png": encode(plain(RED))}
    with pytest.raises(DataError, match=r"b.png in .* is not in a sub-folder.*labels='none'"):
        convert(write_folder(tmp_path / "in", files), tmp_path / "out.zip", labels="folders")


@pytest.mark.parametrize(
    ("images", "channels", "expected"),
    [
        ([plain(9, "L"), plain((9, 9), "LA"), plain(1, "1")], "auto", 1),
        ([plain(9, "L"), plain(RED)], "auto", 3),
        ([plain((*RED, 9), "RGBA")], "auto", 3),
        ([plain(RED)], "1", 1),
        ([plain(9, "L")], "3", 3),
        ([plain(9, "L")], "4", 4),
    ],
)
def test_channels(
    tmp_path: Path, images: list[PIL.Image.Image], channels: str, expected: int
) -> None:
    files = {f"{index}.png": encode(image) for index, image in enumerate(images)}
    source = write_folder(tmp_path / "in", files)
    assert convert(source, tmp_path / "out.zip", channels=channels).img_channels == expected


def test_a_bad_image_stops_with_its_name_or_is_left_out(tmp_path: Path) -> None:
    files = {
        "cat/1.png": encode(plain(RED)),
        "cat/2.png": encode(plain(GREEN))[:60],
        "dog/3.png": b"",
        "dog/4.png": encode(plain(BLUE)),
    }
    source, out = write_folder(tmp_path / "in", files), tmp_path / "out.zip"
    with pytest.raises(DataError, match=r"cat/2.png in .* is not a whole image.*on_bad='skip'"):
        convert_images(source, out, on_bad="fail")
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    result = convert_images(source, out, resolution=8)
    assert result.count == 2
    assert [name for name, _ in result.skipped] == ["cat/2.png", "dog/3.png"]
    assert "dog/3.png" in result.skipped[1][1]
    dataset = open_dataset(out)
    assert colors(dataset) == [RED, BLUE]
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 1]


def test_a_broken_link_is_a_bad_image(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", {"a.png": encode(plain(RED))})
    os.symlink(source / "gone.png", source / "b.png")
    with pytest.raises(DataError, match=r"cannot read .*b.png: No such file"):
        convert(source, tmp_path / "out.zip", on_bad="fail")


@pytest.mark.parametrize("on_bad", ["auto", "skip"])
def test_nothing_but_bad_images_is_an_error(
    tmp_path: Path, on_bad: str, raises_error: RaisesError
) -> None:
    source = write_folder(tmp_path / "in", {"a.png": b"x", "b.png": b"y"})
    with raises_error(DataError, field="source_path", value=source, problem="none of the 2 images"):
        convert(source, tmp_path / "out.zip", on_bad=on_bad)
    assert not (tmp_path / "out.zip").exists()


def test_mostly_bad_images_are_left_out_only_if_asked(
    tmp_path: Path, raises_error: RaisesError
) -> None:
    files = {f"{index}.png": b"x" if index else encode(plain(RED)) for index in range(3)}
    source, out = write_folder(tmp_path / "in", files), tmp_path / "out.zip"
    with raises_error(
        DataError, field="source_path", problem="more than half of the 3", remedy="`on_bad skip`"
    ):
        convert(source, out)
    assert not out.exists()
    assert len(convert(source, out, on_bad="skip")) == 1
    (source / "2.png").write_bytes(files["0.png"])
    assert len(convert(source, out)) == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": 60}, "a power of two from 8 to 1024, such as 64"),
        ({"crop": "left"}, "one of center, fit, none"),
        ({"on_bad": "x"}, "one of auto, skip, fail"),
        ({"labels": "x"}, "one of auto, folders, none"),
        ({"channels": "2"}, "one of auto, 1, 3, 4"),
        ({"background": "whyte"}, "a colour such as white or #ff8800"),
    ],
)
def test_arguments_are_checked(
    tmp_path: Path, options: dict[str, Any], expected: str, raises_error: RaisesError
) -> None:
    ((field, value),) = options.items()
    with raises_error(ConfigError, field=field, value=value, expected=expected):
        convert(tmp_path, tmp_path / "out.zip", **options)


def test_the_source_is_never_the_target(tmp_path: Path, raises_error: RaisesError) -> None:
    source = write_folder(tmp_path / "in", {"a.png": encode(plain(RED))})
    archive = tmp_path / "in.zip"
    with zipfile.ZipFile(archive, "w") as written:
        written.write(source / "a.png", "a.png")
    os.symlink(archive, tmp_path / "link.zip")
    os.link(archive, tmp_path / "hard.zip")
    before = archive.read_bytes()
    for given, out in [
        (archive, archive),
        (archive, tmp_path / "in" / ".." / "in.zip"),
        (archive, tmp_path / "link.zip"),
        (tmp_path / "link.zip", archive),
        (archive, tmp_path / "hard.zip"),
        (source, source / "out.zip"),
        (source, source / "new" / "out.zip"),
        (source, source / "a.png"),
    ]:
        with raises_error(OutputError, field="out", value=out):
            convert(given, out)
    os.symlink(source, tmp_path / "linked")
    with raises_error(OutputError, field="out"):
        convert(source, tmp_path / "linked" / "out.zip")
    assert archive.read_bytes() == before
    assert [path.name for path in source.iterdir()] == ["a.png"]


def test_sources_that_cannot_be_used(tmp_path: Path, raises_error: RaisesError) -> None:
    with pytest.raises(DataError, match="does not exist"):
        convert(tmp_path / "none", tmp_path / "out.zip")
    source = write_folder(tmp_path / "in", {"a.mov": b"x", "b.mov": b"x"})
    with raises_error(DataError, field="path", value=source, problem="no images, but 2 .mov"):
        convert(source, tmp_path / "out.zip")
    for name, data, kind, remedy in [
        ("a.tar", bytes(257) + b"ustar", "a tar archive", "Unpack it"),
        ("a.tar.gz", gzip.compress(b"x"), "a gzip archive", "Unpack it"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7z archive", "Unpack it"),
        ("a.rar", b"Rar!\x1a\x07\1\0", "a RAR archive", "Unpack it"),
        ("a.png", encode(plain(RED)), "a PNG image", "Give the folder that holds it"),
        ("a.npy", b"\x93NUMPY", "a NumPy array", ""),
        ("a.zip", b"PK\3\4" + bytes(99), "is not a whole zip", "Copy or download it again."),
        ("a.bin", b"what", "is not a whole zip", "Copy or download it again."),
    ]:
        (tmp_path / name).write_bytes(data)
        with raises_error(
            DataError, field="path", value=tmp_path / name, problem=kind, remedy=remedy
        ):
            convert(tmp_path / name, tmp_path / "out.zip")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with raises_error(DataError, field="path", value=path, problem="neither a file nor"):
            convert(path, tmp_path / "out.zip")


def test_memory_is_flat_in_the_number_of_images(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    data = encode(PIL.Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)))
    peaks = []
    for count in (40, 240):
        files = {f"{index}.png": data for index in range(count)}
        source = write_folder(tmp_path / f"in{count}", files)
        tracemalloc.start()
        convert_images(source, tmp_path / "out.zip")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 200 more images of 12 kB each are 2.4 MB; names and zip entries may stay.
    assert peaks[1] - peaks[0] < 0.6e6
