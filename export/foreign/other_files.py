"""What a file is that holds no checkpoint, told by its first bytes."""

from __future__ import annotations

from segan.runtime.errors import CheckpointError

#: First bytes of files that are not checkpoints, in lower case: what they are, and what to do.
_OTHER_FILES = (
    (b"\x1f\x8b", "the file is compressed with gzip", "Unpack it first."),
    (b"\x28\xb5\x2f\xfd", "the file is compressed with zstd", "Unpack it first."),
    (b"7z\xbc\xaf", "the file is a 7z archive", "Unpack it first."),
    (b"rar!", "the file is a RAR archive", "Unpack it first."),
    (b"\x89hdf", "the file is HDF5, as Keras writes", "Import a StyleGAN2 of PyTorch."),
    (b"\x89png", "the file is an image", "For images, use 'segan project'."),
    (b"\xff\xd8\xff", "the file is an image", "For images, use 'segan project'."),
    (b"\x93numpy", "the file is a numpy array, perhaps a latent", ""),
    (b"{", "the file is JSON", ""),
    (b"(", "the file is a pickle of protocol 0, as Python 2 writes", ""),
    (b"c", "the file may be a pickle of protocol 0, as Python 2 writes", ""),
)

#: Members of the tar that the first versions of torch.save wrote.
_TORCH_TAR = (b"sys_info", b"pickle", b"tensors", b"storages")


def unknown_file(head: bytes) -> CheckpointError:
    """Return an error that says what a file is that holds no checkpoint."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        return CheckpointError(
            "the file is a git-LFS pointer, not the file itself",
            remedy="Run 'git lfs pull' in that repository, or download the file itself.",
        )
    if text.startswith(b"<"):
        return CheckpointError(
            "the file is a web page (HTML): the server answered with a page, such as 'not found' "
            "or a download warning",
            remedy="Download the file again from a browser.",
        )
    for mark, problem, remedy in _OTHER_FILES:
        if text.startswith(mark):
            return CheckpointError(problem, expected="a StyleGAN2 checkpoint", remedy=remedy)
    if head[257:262] == b"ustar" and head[:100].rstrip(b"\0") in _TORCH_TAR:
        return CheckpointError(
            "the file is a tar of torch.save before PyTorch 0.1.10",
            remedy="Load it with PyTorch, in a sandbox, and save its state_dict() again.",
        )
    if head[257:262] == b"ustar":
        return CheckpointError("the file is a tar archive", remedy="Unpack it first.")
    return CheckpointError(
        "the file is not a checkpoint that segan recognises",
        expected="a StyleGAN2-ADA .pkl, a .pt of torch.save, or safetensors",
        remedy="See docs/guides/import.md.",
    )


#: Function that builds a network, as a TensorFlow pickle names it → the project.
_TENSORFLOW = (
    (b"G_style", "a StyleGAN (1)"),
    (b"G_synthesis_stylegan2", "a StyleGAN2"),
    (b"G_main", "a StyleGAN2"),
    (b"G_paper", "a ProGAN (Progressive GAN)"),
)

#: Bytes at the start of such a pickle that are searched: names and source code come first.
_SEARCHED = 1 << 22


def tensorflow_pickle(data: memoryview) -> CheckpointError:
    """Return the error for a pickle of TensorFlow networks, which names the project.

    Args:
        data: all bytes of the file.
    """
    head = bytes(data[:_SEARCHED])
    project = next((name for mark, name in _TENSORFLOW if mark in head), "a StyleGAN or StyleGAN2")
    remedy = "Its own project has to write it anew as a PyTorch StyleGAN2."
    if "StyleGAN2" in project:
        remedy = (
            "Convert it with legacy.py of NVlabs/stylegan2-ada-pytorch, in a sandbox, and import "
            "the result."
        )
    return CheckpointError(
        f"the file is {project} of TensorFlow (a pickle of dnnlib.tflib)",
        expected="a PyTorch checkpoint of a StyleGAN2",
        remedy=remedy,
    )
