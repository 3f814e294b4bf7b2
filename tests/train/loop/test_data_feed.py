from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from segan.train.data.dataset import ImageDataset, build_dataset
from segan.train.loop.data_feed import DataFeed
from segan.train.loop.streams import DataOrder

CPU = torch.device("cpu")


def feed(dataset: ImageDataset, start: int = 0, **rest: object) -> DataFeed:
    order = DataOrder(len(dataset), seed=3)
    return DataFeed(dataset, order, batch_size=6, start=start, device=CPU, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("start", [0, 18, 222])
def test_batches_follow_the_order_over_epochs(
    small_data: ImageDataset, prefetch: bool, start: int
) -> None:
    data = feed(small_data, start, prefetch=prefetch)
    batches = [data.next() for _ in range(20)]  # three epochs of 40 images
    data.close()
    expected = DataOrder(40, seed=3).indices(start, 120)
    assert small_data.labels is not None
    images = torch.cat([batch.images for batch in batches])
    labels = torch.cat([batch.labels for batch in batches if batch.labels is not None])
    assert torch.equal(images, torch.from_numpy(small_data.images[expected]))
    assert torch.equal(labels, torch.from_numpy(small_data.labels[expected]))
    assert images.dtype == torch.uint8


def test_two_processes_share_each_batch_without_overlap(small_data: ImageDataset) -> None:
    whole, *parts = (
        feed(small_data, part=part) for part in (slice(None), slice(0, None, 2), slice(1, None, 2))
    )
    for _ in range(10):
        images = whole.next().images
        one, two = (part.next().images for part in parts)
        assert torch.equal(images[0::2], one)
        assert torch.equal(images[1::2], two)


def test_a_memory_map_is_read_ahead(small_data: ImageDataset, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", small_data.images)
    images = np.load(tmp_path / "images.npy", mmap_mode="r", allow_pickle=False)
    mapped = build_dataset("squares", images)
    assert mapped.fingerprint == build_dataset("squares", small_data.images).fingerprint
    data, plain = feed(mapped), feed(small_data)
    for _ in range(5):
        found = data.next()
        assert found.labels is None
        assert torch.equal(found.images, plain.next().images)
        found.images.zero_()  # a copy: the map itself cannot be written to
    assert "data" in {thread.name for thread in threading.enumerate()}
    data.close()
    assert "data" not in {thread.name for thread in threading.enumerate()}


def test_what_goes_wrong_in_the_thread_comes_out_where_the_batch_is_awaited(
    small_data: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = feed(small_data, prefetch=True)

    def fail() -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(data, "_gather", fail)
    with pytest.raises(OSError, match="Input/output error"):
        data.next()
    data.close()


def test_closing_ends_a_thread_that_waits_and_one_that_never_began(
    small_data: ImageDataset,
) -> None:
    feed(small_data, prefetch=True).close()
    data = feed(small_data, prefetch=True)
    data.next()
    data.close()
    data.close()
    assert "data" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu(small_data: ImageDataset) -> None:
    cuda = torch.device("cuda")
    order = DataOrder(40, seed=3)
    data = DataFeed(small_data, order, batch_size=6, start=0, device=cuda)
    expected = DataOrder(40, seed=3).indices(0, 6 * 50)
    assert small_data.labels is not None
    for number in range(50):
        batch = data.next()
        index = expected[6 * number : 6 * number + 6]
        assert batch.images.is_cuda
        assert torch.equal(batch.images.cpu(), torch.from_numpy(small_data.images[index]))
        assert batch.labels is not None
        assert batch.labels.tolist() == small_data.labels[index].tolist()
    data.close()
