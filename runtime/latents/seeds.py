"""Seeds: checks, and lists of ranges such as ``0-63,70,80-90``."""

from __future__ import annotations

import bisect
import itertools
import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import SupportsIndex, overload

from segan.runtime.errors import ConfigError

#: The largest seed; the smallest is 0.
MAX_SEED = 2**32 - 1


class SeedList(Sequence[int]):
    """Seeds stored as ranges in the order given, so that a million seeds take no memory."""

    def __init__(self, ranges: Iterable[range]) -> None:
        self.ranges = tuple(part for part in ranges if len(part))
        # Position at which each range ends.
        self._ends = list(itertools.accumulate(len(part) for part in self.ranges))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> int | Sequence[int]:
        if not isinstance(index, slice):
            position = operator.index(index)
            if position < 0:
                position += len(self)
            if not 0 <= position < len(self):
                raise IndexError(f"there are {len(self)} seeds; no position {index}")
            which = bisect.bisect_right(self._ends, position)
            return self.ranges[which][position - self._ends[which]]
        start, stop, step = index.indices(len(self))
        if step != 1:
            return [self[position] for position in range(start, stop, step)]
        begins = [0, *self._ends]
        return SeedList(
            part[max(start - begin, 0) : max(stop - begin, 0)]
            for begin, part in zip(begins, self.ranges, strict=False)
        )

    def __iter__(self) -> Iterator[int]:
        return itertools.chain.from_iterable(self.ranges)

    def __contains__(self, seed: object) -> bool:
        return any(seed in part for part in self.ranges)

    def first_repeated(self) -> int | None:
        """A seed that is listed twice, or None; compares ranges, so any number of seeds is fast."""
        rising = sorted(self.ranges, key=lambda part: part.start)
        for one, two in itertools.pairwise(rising):
            if two.start < one.stop:
                return two.start
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeedList) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        ends = (f"{p[0]}-{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in self.ranges)
        return f"SeedList({','.join(ends)!r})"


def parse_seeds(text: str, name: str = "seeds") -> SeedList:
    """Parse ``0-63,70,80-90``: seeds and ranges, both ends included, in the given order.

    Args:
        text: the list.
        name: the argument that holds it, for errors.

    Raises:
        ConfigError: a part is not a number or a range, a range ends before it begins, or a seed is
            outside 0 to 4294967295.
    """
    ranges = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,20})\s*(?:-\s*([0-9]{1,20})\s*)?", part)
        if match is None:
            raise ConfigError(
                f"`{name}` is {text!r}, where {part.strip()!r} is not a seed or a range",
                field=name,
                value=text,
                expected=f"numbers and ranges from 0 to {MAX_SEED}, such as 0-63,70,80-90",
            )
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first:
            raise ConfigError(
                f"`{name}` is {text!r}, where {part.strip()} ends before it begins",
                field=name,
                value=text,
                expected=f"{last}-{first}",
            )
        check_seed(last)
        ranges.append(range(first, last + 1))
    return SeedList(ranges)


def check_seed(seed: object) -> int:
    """One seed as an int. Raises: ConfigError unless it is an integer from 0 to 4294967295."""
    if type(seed) is int and 0 <= seed <= MAX_SEED:
        return seed  # The usual case, without the slow check of a protocol.
    if isinstance(seed, bool) or not isinstance(seed, SupportsIndex):
        raise ConfigError(field="seed", value=seed, expected=f"an integer from 0 to {MAX_SEED}")
    value = operator.index(seed)
    if not 0 <= value <= MAX_SEED:
        raise ConfigError(field="seed", value=value, expected=f"0 to {MAX_SEED}")
    return value


def check_seeds(seeds: int | Iterable[int]) -> list[int]:
    """The seeds as a list of ints; a single integer makes a list of one.

    Raises:
        ConfigError: a seed is not an integer from 0 to 4294967295.
    """
    if isinstance(seeds, str | bytes):
        raise ConfigError(
            field="seeds",
            value=seeds,
            expected="integers",
            remedy="Parse a text with segan.runtime.latents.seeds.parse_seeds first.",
        )
    if isinstance(seeds, SupportsIndex) and not isinstance(seeds, Iterable):
        return [check_seed(seeds)]
    if not isinstance(seeds, Iterable):
        raise ConfigError(field="seeds", value=seeds, expected=f"integers from 0 to {MAX_SEED}")
    return [check_seed(seed) for seed in seeds]


def in_chunks(seeds: Iterable[int], size: int) -> Iterator[list[int]]:
    """The seeds in lists of ``size``, each checked when its list is taken. Raises: ConfigError."""
    if isinstance(seeds, str | bytes):
        check_seeds(seeds)
    waiting = iter(seeds)
    while chunk := check_seeds(itertools.islice(waiting, size)):
        yield chunk
