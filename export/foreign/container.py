"""Opens a checkpoint file of any known format, recognised by its content.

Nothing in the file is executed: see ``segan.export.foreign.inert.machine``. The file is mapped
into memory, so that only the tensors that are read cost memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from segan.export.foreign.find import find_model
from segan.export.foreign.inert.machine import read_pickle
from segan.export.foreign.inert.objects import TensorFlowPickleError
from segan.export.foreign.limits import MAX_FILE_BYTES
from segan.export.foreign.model import ForeignModel
from segan.export.foreign.other_files import tensorflow_pickle, unknown_file
from segan.export.foreign.safetensors_file import is_safetensors, read_safetensors
from segan.export.foreign.torch_file import is_stream, read_nested_storage, read_stream, read_zip
from segan.runtime.errors import CheckpointError


@contextlib.contextmanager
def open_foreign(path: Path, layout: str | None = None) -> Iterator[ForeignModel]:
    """Open a file; its tensors can be read within the context.

    Args:
        path: the file.
        layout: expected layout; None recognises it from the tensors' names.

    Raises:
        CheckpointError: the file is missing, truncated, damaged, hostile, or not a StyleGAN2
            generator. ``field`` is ``path`` unless a setting in the file is at fault.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        # Opening a pipe waits for its writer.
        raise CheckpointError(f"{path} is not a regular file", field="path", value=path)
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise CheckpointError(
                    f"{path} is empty",
                    field="path",
                    value=path,
                    remedy="Download or copy the file again.",
                )
            if size > MAX_FILE_BYTES:
                raise CheckpointError(
                    f"{path} has {size / 2**30:.0f} GiB",
                    field="path",
                    value=path,
                    expected=f"a StyleGAN2 checkpoint, at most {MAX_FILE_BYTES >> 30} GiB",
                )
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            try:
                model = _read(file, memoryview(mapped), layout)
                model.size = size
                file.seek(0)
                model.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                yield model
            except CheckpointError as error:
                raise CheckpointError(
                    f"{path}: {error.problem}",
                    field=error.field or "path",
                    value=path if error.field is None else error.value,
                    expected=error.expected,
                    remedy=error.remedy,
                ) from None
            # The map is not closed here: records may hold views of it.
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist",
            field="path",
            value=path,
            remedy="Give a checkpoint file.",
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}", field="path", value=path
        ) from None


def read_root(file: BinaryIO, data: memoryview) -> tuple[Any, str] | None:
    """Return the object in a pickle or in a file of ``torch.save``, and the format's name.

    Args:
        file: the open file.
        data: all bytes of the file.

    Returns:
        None for a file of another format.

    Raises:
        CheckpointError: truncated, damaged, hostile, or beyond a bound.
    """
    head = bytes(data[:4])
    if head == b"PK\x03\x04":
        return read_zip(file, data), "torch.save (zip)"
    if head[:1] != b"\x80" or len(head) < 2 or head[1] > 5:
        return None
    if is_stream(data):
        return read_stream(data), "torch.save (before 1.6)"
    try:
        root, _ = read_pickle(data, load_storage=read_nested_storage)
    except TensorFlowPickleError:
        raise tensorflow_pickle(data) from None
    return root, "pickle"


def _read(file: BinaryIO, data: memoryview, layout: str | None) -> ForeignModel:
    found = read_root(file, data)
    if found is not None:
        root, container = found
        return find_model(root, container, layout)
    if is_safetensors(data):
        tensors, metadata = read_safetensors(data)
        model = find_model(tensors, "safetensors", layout or metadata.get("layout"))
        model.settings[""] = metadata
        return model
    raise unknown_file(bytes(data[:512]))
