from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segan.runtime.bundle.manifest import decode_manifest, encode_manifest
from segan.runtime.errors import BundleError

DATA = Path(__file__).parents[2] / "data"
TOY = (DATA / "toy.segan" / "manifest.json").read_bytes()


def _edited(**fields: Any) -> bytes:
    return json.dumps({**json.loads(TOY), **fields}).encode()


def test_reading_and_writing_loses_nothing() -> None:
    manifest = decode_manifest(TOY)
    assert encode_manifest(manifest) == TOY
    assert decode_manifest(encode_manifest(manifest)) == manifest
    assert (manifest.num_sites, manifest.num_subspaces) == (8, 3)


@pytest.mark.parametrize("data", [b"", b"{", b"not json", b"\xff\xfe", TOY[: len(TOY) // 2]])
def test_not_json(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json is truncated or not JSON"):
        decode_manifest(data)


@pytest.mark.parametrize("data", [b"[]", b"7", b"{}", _edited(format="segan.bundle/2")])
def test_another_format(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"expected 'segan\.bundle/1'"):
        decode_manifest(data)


_SITE = json.loads(TOY)["sites"][0]
_SUBSPACE = json.loads(TOY)["subspaces"][0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resolution": 24}, "resolution is 24"),
        ({"resolution": "16"}, "resolution"),
        ({"img_channels": 5}, "img_channels is 5; expected 1 to 4"),
        ({"img_channels": 0}, "img_channels is 0"),
        ({"z_dim": 0}, "z_dim is 0"),
        ({"w_dim": -1}, "w_dim is -1"),
        ({"c_dim": -1}, "c_dim is -1"),
        ({"class_names": ["cat"]}, "1 class_names for 0 classes"),
        ({"mode": 4}, "mode"),
        ({"sites": []}, "there are no sites"),
        ({"sites": [_SITE, _SITE]}, "a site is listed twice"),
        ({"sites": [{**_SITE, "resolution": 32}]}, "resolution is 32; expected 4 to 16"),
        ({"sites": [{**_SITE, "layer": -1}]}, "layer is -1"),
        ({"unknown": 1}, "unknown"),
        ({"coords_dim": 5}, "dims is 6; expected 1 to 5"),
        ({"subspaces": [{**_SUBSPACE, "site": 8}]}, "no site 8"),
        ({"subspaces": [{**_SUBSPACE, "site": -1}]}, "no site -1"),
        ({"subspaces": [{**_SUBSPACE, "layer": 1}]}, "layer is 1; expected 0"),
        ({"subspaces": [{**_SUBSPACE, "dims": 0}]}, "dims is 0"),
        ({"subspaces": [{**_SUBSPACE, "index": -1}]}, "index is -1"),
        ({"subspaces": [{**_SUBSPACE, "high": _SUBSPACE["low"]}]}, "a low end below the high one"),
        ({"subspaces": [{**_SUBSPACE, "high": 1e308}]}, "from -1e\\+06 to 1e\\+06"),
        ({"subspaces": [_SUBSPACE, _SUBSPACE]}, "listed twice"),
        ({"name": "x" * 301}, "too many characters; expected at most 300"),
        ({"noise": "other.npy"}, "'other.npy' is used but not listed"),
        ({"files": {}}, "is used but not listed"),
        (
            {"graphs": {"mapping": "m", "offsets": "o", "synthesis": {"fp16": "s"}}},
            "no fp32 entry",
        ),
    ],
)
def test_contradictions_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        decode_manifest(_edited(**fields))


@pytest.mark.parametrize("field", sorted(json.loads(TOY)))
def test_a_missing_field_is_named(field: str) -> None:
    found = json.loads(TOY)
    del found[field]
    if field == "class_names":  # the one field with a default
        assert decode_manifest(json.dumps(found).encode()).class_names == ()
        return
    with pytest.raises(BundleError, match=field):
        decode_manifest(json.dumps(found).encode())
