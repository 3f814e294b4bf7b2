"""What another project's file may demand: every bound on it, each with its reason.

A file that exceeds a bound is refused before the work, within seconds, and within 512 MiB or three
times its size, whichever is more. What a reader allocates is a view of the file, or counted here.
"""

from __future__ import annotations

from segan.runtime.errors import CheckpointError

#: Bytes of a file: ten times the largest StyleGAN2 checkpoint.
MAX_FILE_BYTES = 1 << 34

#: Opcodes of all pickles in a file together. The largest published StyleGAN2 pickles need 100,000.
#: One opcode makes at most some 250 bytes of objects.
MAX_OPCODES = 1_000_000

#: Items that calls in a pickle copy into lists, dictionaries and namespaces: 100 bytes each at
#: most. A model file copies a few for each tensor.
MAX_COPIED_ITEMS = 500_000

#: Bytes of all texts of a file; as characters they take up to four times as much. StyleGAN2-ADA
#: stores the source code of its networks, some 100 KiB.
MAX_TEXT_BYTES = 1 << 24

#: Characters of a key or of a tensor's name: comparing long ones takes time again and again.
MAX_NAME = 4_096

#: Keys that are not text, such as an optimiser's numbers: their hashes can be made to collide, so
#: that a dictionary takes quadratic time.
MAX_NUMBER_KEYS = 10_000

#: Containers that are open at once, bytes of an integer, and dimensions of a tensor.
MAX_MARKS, MAX_INTEGER_BYTES, MAX_DIMS = 1_000, 16, 8

#: Values of a tensor that repeats its storage, as torch's expand does: 4 MiB as float32.
MAX_EXPANDED = 1 << 20

#: Bytes of a zip's directory, and its entries: one for each tensor. Reading the directory takes
#: ten times its size.
MAX_DIRECTORY_BYTES, MAX_ENTRIES = 1 << 24, 100_000

#: Bytes of a safetensors header, which takes thirty times its size once it is parsed; a StyleGAN2
#: needs 100 KiB.
MAX_HEADER_BYTES = 1 << 22

#: Levels of nested modules, tensors, and attributes of all modules of one network.
MAX_MODULE_DEPTH, MAX_TENSORS, MAX_ATTRIBUTES = 12, 20_000, 200_000

#: Taps of a resampling filter. Published networks use 4; those of StyleGAN3 up to 24.
MAX_FILTER_TAPS = 32

#: Layers of a mapping network, the width of one, and the classes of its labels (ImageNet-21k has
#: 21,841): the mean of w maps 1,024 latents and labels at once.
MAX_MAPPING_LAYERS, MAX_WIDTH, MAX_CLASSES = 64, 8_192, 1 << 15

#: Values of one image's feature maps at a resolution: those of 1024² with 32 channels, as published
#: networks have, or a quarter of the file's bytes, where it holds the weights for more channels.
MIN_FEATURES, FEATURES_OF_FILE = 1 << 25, 0.25

#: Bytes of a network's weights as float32: half-precision files double; a tensor that several
#: names share is read for each.
MIN_WEIGHTS_BYTES, WEIGHTS_OF_FILE = 1 << 28, 2

DO_NOT_TRUST = "Nothing in the file was executed. Do not trust this file."


def exceeded(
    what: str, given: int | None, allowed: int, remedy: str = DO_NOT_TRUST
) -> CheckpointError:
    """Return the error of a file that exceeds a bound.

    Args:
        what: what there is too much of, in the plural: "tensors".
        given: how many there are; None where counting stopped.
        allowed: the bound.
        remedy: what to do next.
    """
    count = f"more than {allowed:,}" if given is None else f"{given:,}"
    return CheckpointError(
        f"the file needs {count} {what}", expected=f"at most {allowed:,}", remedy=remedy
    )


class Budget:
    """What all pickles of one file may still demand; a pickle within another spends the same."""

    def __init__(self) -> None:
        self.opcodes, self.items = MAX_OPCODES, MAX_COPIED_ITEMS
        self.text, self.keys = MAX_TEXT_BYTES, MAX_NUMBER_KEYS

    def spend_text(self, count: int) -> None:
        """Count the bytes of a text. Raises: CheckpointError."""
        self.text -= count
        if self.text < 0:
            raise exceeded("bytes of texts in its pickles", None, MAX_TEXT_BYTES)

    def spend_arguments(self, arguments: tuple[object, ...]) -> None:
        """Count what a call may copy: the items and characters of its arguments.

        Raises:
            CheckpointError: too much.
        """
        for argument in arguments:
            if isinstance(argument, list | tuple | dict | set | frozenset):
                self.items -= len(argument)
            elif isinstance(argument, str):
                self.spend_text(len(argument))
        if self.items < 0:
            raise exceeded("items to be copied by its pickles", None, MAX_COPIED_ITEMS)

    def check_key(self, key: object) -> None:
        """Raise an error unless a value may be a key of a dictionary or a member of a set.

        Raises:
            TypeError: another type: hashing deeply nested tuples would recurse.
            CheckpointError: a long text, or too many numbers.
        """
        if isinstance(key, str):
            if len(key) > MAX_NAME:
                raise exceeded("characters for one key", len(key), MAX_NAME)
            return
        if not isinstance(key, _KEYS) and not (
            isinstance(key, tuple)
            and len(key) < 16
            and all(isinstance(part, _KEYS) for part in key)
        ):
            raise TypeError(f"a key of type {type(key).__name__}")
        self.keys -= 1
        if self.keys < 0:
            raise exceeded("keys that are not text", None, MAX_NUMBER_KEYS)


_KEYS = (str, int, float, bool, bytes, type(None))
