"""Making things in a thread of their own, a few ahead of who takes them."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")

#: Items that may wait to be taken.
_AHEAD = 2
_POLL_S = 0.1


@contextlib.contextmanager
def in_background(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """Runs an iterator in a thread; the block takes its items in order.

    What the iterator raises is raised where its item would have been taken. The thread has ended
    when the block has, also when the block raises.

    Args:
        items: is run in the thread alone.
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
