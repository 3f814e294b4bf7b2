"""Running an iterator in a background thread, a few items ahead of its consumer."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")

#: Most items that wait for the consumer.
_AHEAD = 2
_POLL_S = 0.1


@contextlib.contextmanager
def in_background(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """Run an iterator in a thread, and yield its items in order to the block.

    An exception of the iterator is raised in place of its next item. The thread ends with the
    block, also when the block raises.

    Args:
        items: is advanced only in the thread.
    """
    waiting: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(entry: tuple[Item | None, BaseException | None]) -> bool:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(entry, timeout=_POLL_S)
                return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((None, StopIteration()))
        except BaseException as error:
            put((None, error))

    def taken() -> Iterator[Item]:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert item is not None
            yield item

    thread = threading.Thread(target=work, name="images", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        thread.join()
