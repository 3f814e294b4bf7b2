"""Reads a pickle as data: an interpreter of pickle opcodes that executes nothing.

A pickle is a program: Python's ``pickle`` imports the names in it and calls them. This interpreter
knows the opcodes that model files use, and keeps every name as a ``Name``, which is text. A call is
looked up in the allow-list of ``segan.export.foreign.inert.objects``, whose functions build plain
containers and records of tensors; a name that is not on the list is refused. Nothing is imported,
no class of the file is instantiated, and no method of its objects runs.

Bytes are views of the file's buffer, so tensors that are not used, such as a discriminator's, cost
no memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from segan.export.foreign.inert.objects import LoadStorage, Name, build_state, call, make
from segan.export.foreign.limits import (
    DO_NOT_TRUST,
    MAX_INTEGER_BYTES,
    MAX_MARKS,
    MAX_OPCODES,
    Budget,
    exceeded,
)
from segan.runtime.errors import CheckpointError

PersistentLoad = Callable[[Any], Any]


class _Mark:
    """Marks the start of a sequence of items on the stack."""


_MARK = _Mark()


def read_pickle(
    data: memoryview,
    budget: Budget | None = None,
    *,
    persistent_load: PersistentLoad | None = None,
    load_storage: LoadStorage | None = None,
) -> tuple[Any, int]:
    """Read one pickle from the start of ``data``.

    Args:
        data: the bytes; more may follow.
        budget: what the file may still demand; None for a pickle of its own.
        persistent_load: makes a record of a persistent id; without it such ids are refused.
        load_storage: makes a record of the bytes of a storage; without it they are refused.

    Returns:
        The object, and the number of bytes of the pickle.

    Raises:
        CheckpointError: the pickle is truncated or damaged, exceeds a limit, or uses a name that
            is not on the allow-list.
    """
    machine = _Machine(data, budget or Budget(), persistent_load, load_storage)
    try:
        return machine.run(), machine.position
    except (IndexError, struct.error):
        # An operand past the end of the data or of the stack.
        raise CheckpointError(
            f"the pickle is truncated or damaged at byte {machine.position}", remedy=_GET_AGAIN
        ) from None
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise CheckpointError(
            f"the pickle is damaged at byte {machine.position} ({str(error)[:120]})",
            remedy=_GET_AGAIN,
        ) from None
    except MemoryError:
        raise CheckpointError("the pickle needs more memory than this machine has") from None


_GET_AGAIN = "Download or copy the file again."


class _Machine:
    """The stack, the memo and the opcodes."""

    def __init__(
        self,
        data: memoryview,
        budget: Budget,
        persistent_load: PersistentLoad | None,
        load_storage: LoadStorage | None,
    ) -> None:
        self.data, self.position, self.budget = data, 0, budget
        self.stack: list[Any] = []
        self.marks = 0
        self.memo: dict[int, Any] = {}
        self.persistent_load, self.load_storage = persistent_load, load_storage

    def run(self) -> Any:
        """Run to STOP, and return the top of the stack."""
        while True:
            code = self.take(1)[0]
            self.budget.opcodes -= 1
            if self.budget.opcodes < 0:
                raise exceeded("opcodes in its pickles", None, MAX_OPCODES)
            if code == 0x2E:  # STOP
                if len(self.stack) != 1 or self.stack[0] is _MARK:
                    raise ValueError("STOP with an unfinished stack")
                return self.stack.pop()
            operation = _OPERATIONS.get(code)
            if operation is None:
                name = _REFUSED.get(code)
                if name is None:
                    raise CheckpointError(
                        f"the pickle is damaged: byte {self.position - 1} is not an opcode of "
                        "model files",
                        remedy=_GET_AGAIN,
                    )
                raise CheckpointError(
                    f"the pickle uses {name}, which model files do not need", remedy=DO_NOT_TRUST
                )
            operation(self)

    def take(self, count: int) -> memoryview:
        """Return the next bytes, as a view."""
        end = self.position + count
        if end > len(self.data):
            raise IndexError
        view, self.position = self.data[self.position : end], end
        return view

    def number(self, layout: str) -> Any:
        """Return the next number, in the layout of ``struct``."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> str:
        """Return the text up to the next newline."""
        length = bytes(self.data[self.position : self.position + 512]).find(b"\n")
        if length < 0:
            raise ValueError("a line of more than 512 bytes, or without an end")
        text = bytes(self.take(length)).decode("ascii", "backslashreplace")
        self.position += 1
        return text

    def text(self, length: int) -> None:
        self.budget.spend_text(length)
        self.stack.append(bytes(self.take(length)).decode("utf-8", "surrogatepass"))

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise IndexError
        return value

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if not isinstance(value, kind):
            raise TypeError(f"expected a {kind.__name__} on the stack")
        return value

    def mark(self) -> None:
        self.marks += 1
        if self.marks > MAX_MARKS:
            raise exceeded("containers that are open at once", self.marks, MAX_MARKS)
        self.stack.append(_MARK)

    def items(self) -> list[Any]:
        """Remove the last mark, and return the items above it."""
        if not self.marks:
            raise IndexError
        first = len(self.stack) - 1
        while self.stack[first] is not _MARK:
            first -= 1
        found = self.stack[first + 1 :]
        del self.stack[first:]
        self.marks -= 1
        return found

    def put(self, key: int) -> None:
        value = self.stack[-1]
        if value is _MARK:
            raise IndexError
        self.memo[key] = value

    def get(self, key: int) -> None:
        self.stack.append(self.memo[key])

    def integer(self, length: int) -> None:
        if length > MAX_INTEGER_BYTES:
            raise ValueError(f"an integer of {length} bytes")
        self.stack.append(int.from_bytes(self.take(length), "little", signed=True))

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(values)))

    def name(self) -> None:
        attribute, module = self.pop(), self.pop()
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise TypeError("a name that is not text")
        self.stack.append(Name.allowed(module, attribute))

    def line_name(self) -> None:
        module = self.line()
        self.stack.append(Name.allowed(module, self.line()))

    def extend(self) -> None:
        values = self.items()
        self.top(list).extend(values)

    def append(self) -> None:
        value = self.pop()
        self.top(list).append(value)

    def add_items(self) -> None:
        values = self.items()
        for value in values:
            self.budget.check_key(value)
        self.top(set).update(values)

    def set_items(self) -> None:
        values = self.items()
        if len(values) % 2:
            raise ValueError("a dictionary with a key but no value")
        target = self.top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            self.budget.check_key(key)
            target[key] = value

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.budget.check_key(key)
        self.top(dict)[key] = value

    def dictionary(self) -> None:
        values = self.items()
        self.stack.append({})
        self.mark()
        self.stack.extend(values)
        self.set_items()

    def frozen(self) -> None:
        values = self.items()
        for value in values:
            self.budget.check_key(value)
        self.stack.append(frozenset(values))

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(arguments, tuple):
            raise TypeError("a call without a tuple of arguments")
        self.stack.append(call(function, arguments, self.budget, self.load_storage))

    def new_object(self) -> None:
        arguments, kind = self.pop(), self.pop()
        self.stack.append(make(kind, arguments, {}, self.budget))

    def new_object_ex(self) -> None:
        named, arguments, kind = self.pop(), self.pop(), self.pop()
        self.stack.append(make(kind, arguments, named, self.budget))

    def build(self) -> None:
        state = self.pop()
        build_state(self.stack[-1], state, self.budget)

    def persistent(self) -> None:
        key = self.pop()
        if self.persistent_load is None:
            raise CheckpointError(
                "the pickle refers to data outside of itself (a persistent id), which only "
                "checkpoints of torch.save do",
                remedy=DO_NOT_TRUST,
            )
        self.stack.append(self.persistent_load(key))

    def protocol(self) -> None:
        version = self.take(1)[0]
        if not 2 <= version <= 5:
            raise ValueError(f"pickle protocol {version}")

    def frame(self) -> None:
        if self.number("<Q") > len(self.data) - self.position:
            raise IndexError

    def discard(self) -> None:
        if self.stack.pop() is _MARK:
            self.marks -= 1

    def discard_to_mark(self) -> None:
        self.items()


_Operation = Callable[[_Machine], None]


def _push(make_value: Callable[[_Machine], Any]) -> _Operation:
    return lambda machine: machine.stack.append(make_value(machine))


_OPERATIONS: dict[int, _Operation] = {
    ord("("): _Machine.mark,
    ord("0"): _Machine.discard,
    ord("1"): _Machine.discard_to_mark,
    ord("N"): _push(lambda _: None),
    0x88: _push(lambda _: True),
    0x89: _push(lambda _: False),
    ord("J"): _push(lambda m: m.number("<i")),
    ord("K"): _push(lambda m: m.number("<B")),
    ord("M"): _push(lambda m: m.number("<H")),
    0x8A: lambda m: m.integer(m.number("<B")),
    0x8B: lambda m: m.integer(m.number("<I")),
    ord("G"): _push(lambda m: m.number(">d")),
    0x8C: lambda m: m.text(m.number("<B")),
    ord("X"): lambda m: m.text(m.number("<I")),
    0x8D: lambda m: m.text(m.number("<Q")),
    # Texts of Python 2, and bytes: views, which cost no memory until they are used.
    ord("U"): _push(lambda m: m.take(m.number("<B"))),
    ord("T"): _push(lambda m: m.take(m.number("<I"))),
    ord("C"): _push(lambda m: m.take(m.number("<B"))),
    ord("B"): _push(lambda m: m.take(m.number("<I"))),
    0x8E: _push(lambda m: m.take(m.number("<Q"))),
    0x96: _push(lambda m: m.take(m.number("<Q"))),
    ord(")"): _push(lambda _: ()),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("t"): _push(lambda m: tuple(m.items())),
    ord("]"): _push(lambda _: []),
    ord("l"): _push(lambda m: m.items()),
    ord("a"): _Machine.append,
    ord("e"): _Machine.extend,
    ord("}"): _push(lambda _: {}),
    ord("d"): _Machine.dictionary,
    ord("s"): _Machine.set_item,
    ord("u"): _Machine.set_items,
    0x8F: _push(lambda _: set()),
    0x90: _Machine.add_items,
    0x91: _Machine.frozen,
    ord("q"): lambda m: m.put(m.number("<B")),
    ord("r"): lambda m: m.put(m.number("<I")),
    0x94: lambda m: m.put(len(m.memo)),
    ord("h"): lambda m: m.get(m.number("<B")),
    ord("j"): lambda m: m.get(m.number("<I")),
    ord("c"): _Machine.line_name,
    0x93: _Machine.name,
    ord("R"): _Machine.reduce,
    0x81: _Machine.new_object,
    0x92: _Machine.new_object_ex,
    ord("b"): _Machine.build,
    ord("Q"): _Machine.persistent,
    0x80: _Machine.protocol,
    0x95: _Machine.frame,
}

#: Opcodes that are refused by name.
_REFUSED = {
    ord("i"): "INST",
    ord("o"): "OBJ",
    ord("P"): "PERSID",
    0x82: "the extension registry (EXT1)",
    0x83: "the extension registry (EXT2)",
    0x84: "the extension registry (EXT4)",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
    ord("2"): "DUP",
    ord("S"): "STRING of protocol 0",
    ord("V"): "UNICODE of protocol 0",
    ord("I"): "INT of protocol 0",
    ord("L"): "LONG of protocol 0",
    ord("F"): "FLOAT of protocol 0",
    ord("p"): "PUT of protocol 0",
    ord("g"): "GET of protocol 0",
}
