"""The metrics by name, with n read from the name: ``fid50k_full``, ``kid5k_full``, ``ppl2k_wend``.

To add a metric, add its family to ``FAMILIES``: a pattern of names and the class of their
metrics. Importing this module needs no torch, so that names are checked quickly.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from segan.runtime.errors import ConfigError
from segan.train.measure.quality.metric import Metric

#: n in every family: a number, of thousands where a k follows directly.
_N = r"(?P<n>[1-9]\d*k?)"
#: n and the neighbour k of precision and recall, separated by the k of thousands, else by _.
_N_AND_K = r"(?P<n>[1-9]\d*(?:k|(?=_)))_?(?P<k>[1-9]\d*)"
#: How names are read, for ``segan metrics --list``.
NAMING = (
    "Names contain numbers. n is the number of images (of pairs for ppl); a k right after n means "
    "thousands.\nPrecision and recall also take the neighbour: pr5k3 is n 5,000 and "
    "neighbour 3, pr500_3 is n 500 and neighbour 3,\npr500k3 is n 500,000. ppl2_wend is the "
    "metric ppl2, not n 2."
)


class MetricFamily(NamedTuple):
    """Metrics that differ in n, or in another number of the name.

    Attributes:
        pattern: of the whole name; its groups are passed to ``from_name``.
        examples: names of metrics, the published name first.
        about: one line, for ``segan metrics --list``.
        metric: ``module:class``, whose ``from_name`` is called with the name and the groups.
    """

    pattern: str
    examples: tuple[str, ...]
    about: str
    metric: str


_ROOM = "segan.train.measure.quality"

#: In the order in which they are listed.
FAMILIES: tuple[MetricFamily, ...] = (
    MetricFamily(
        rf"fid{_N}(?P<full>_full)?",
        ("fid50k_full", "fid5k_full", "fid50k"),
        "Fréchet distance of Inception features (Heusel et al. 2017)",
        f"{_ROOM}.frechet:FrechetMetric",
    ),
    MetricFamily(
        rf"kid{_N}(?P<full>_full)?",
        ("kid50k_full", "kid5k_full", "kid50k"),
        "kernel distance of Inception features (Binkowski et al. 2018)",
        f"{_ROOM}.kernel_distance:KernelMetric",
    ),
    MetricFamily(
        rf"pr{_N_AND_K}(?P<full>_full)?",
        ("pr50k3_full", "pr5k3_full", "pr50k3", "pr500_3"),
        "precision and recall of VGG16 features (Kynkäänniemi et al. 2019)",
        f"{_ROOM}.precision_recall:PrecisionRecallMetric",
    ),
    MetricFamily(
        rf"is{_N}",
        ("is50k", "is5k"),
        "Inception score (Salimans et al. 2016)",
        f"{_ROOM}.inception_score:InceptionScoreMetric",
    ),
    MetricFamily(
        rf"ppl(?!2_){_N}?_(?P<space>[zw])(?P<sampling>full|end)",
        ("ppl_zfull", "ppl_wfull", "ppl_zend", "ppl_wend", "ppl2k_wend"),
        "perceptual path length, cropped as for FFHQ, 50k pairs (Karras et al. 2019)",
        f"{_ROOM}.path_length:PathLengthMetric",
    ),
    MetricFamily(
        rf"ppl2(?:_{_N})?_(?P<space>[zw])(?P<sampling>full|end)",
        ("ppl2_wend", "ppl2_2k_wend"),
        "the same without the crop (Karras et al. 2020)",
        f"{_ROOM}.path_length:UncroppedPathLengthMetric",
    ),
    MetricFamily(
        rf"ppl_segan{_N}",
        ("ppl_segan30k", "ppl_segan2k"),
        "path length as the published SEGAN states it: slerp in z, epsilon 1e-2",
        f"{_ROOM}.path_length:PathLengthMetric",
    ),
    MetricFamily(
        rf"fd_faces{_N}(?P<full>_full)?",
        ("fd_faces5k", "fd_faces5k_full", "fd_faces50k"),
        "Fréchet distance of the built-in faces' attribute features; never to be called FID",
        f"{_ROOM}.frechet:FacesFrechetMetric",
    ),
    MetricFamily(
        rf"kd_faces{_N}(?P<full>_full)?",
        ("kd_faces5k_full", "kd_faces5k", "kd_faces50k"),
        "kernel distance of the same features",
        f"{_ROOM}.kernel_distance:FacesKernelMetric",
    ),
    MetricFamily(
        rf"pr_faces{_N_AND_K}(?P<full>_full)?",
        ("pr_faces5k3_full", "pr_faces5k3", "pr_faces50k3"),
        "precision and recall of the same features",
        f"{_ROOM}.precision_recall:FacesPrecisionRecallMetric",
    ),
    MetricFamily(
        rf"ppl_faces{_N}_(?P<space>[zw])(?P<sampling>full|end)",
        ("ppl_faces50k_wend", "ppl_faces2k_wend", "ppl_faces2k_zfull"),
        "path length on the same features in place of LPIPS, without a crop; never to be called "
        "PPL",
        f"{_ROOM}.path_length:FacesPathLengthMetric",
    ),
    MetricFamily(
        rf"ppl_faces_segan{_N}",
        ("ppl_faces_segan30k", "ppl_faces_segan2k"),
        "the same along the published SEGAN's path: slerp in z, epsilon 1e-2",
        f"{_ROOM}.path_length:FacesPathLengthMetric",
    ),
    MetricFamily(
        rf"control{_N}?",
        ("control", "control128"),
        "how many of the built-in faces' attributes one slider controls, with a table of all "
        "sliders; n seeds, else 64",
        f"{_ROOM}.control_metrics:ControlMetric",
    ),
    MetricFamily(
        rf"separability{_N}(?P<classes>_classes)?",
        ("separability10k", "separability2k", "separability200k", "separability10k_classes"),
        "linear separability of w (Karras et al. 2019) by the faces' attributes, or by the "
        "classes of --data",
        f"{_ROOM}.control_metrics:SeparabilityMetric",
    ),
    MetricFamily(
        rf"mig{_N}?",
        ("mig", "mig2k"),
        "mutual information gap of the sliders, else of w (Chen et al. 2018); 10k images",
        f"{_ROOM}.control_metrics:MigMetric",
    ),
    MetricFamily(
        rf"dci{_N}?",
        ("dci", "dci2k"),
        "disentanglement of the sliders, else of w (Eastwood & Williams 2018); 4k images",
        f"{_ROOM}.control_metrics:DciMetric",
    ),
)


def parse_metric(name: str) -> Metric:
    """Build the metric of a name.

    Raises:
        ConfigError: there is no such metric, or its numbers are out of range.
    """
    for family in FAMILIES:
        match = re.fullmatch(family.pattern, name)
        if match is not None:
            module, _, kind = family.metric.partition(":")
            found: type[Metric] = getattr(importlib.import_module(module), kind)
            return found.from_name(name, match.groupdict())
    raise _unknown(name)


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """Look the names up without building the metrics, and drop repeated names.

    Raises:
        ConfigError: a name is unknown, or there is none.
    """
    found = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not found:
        raise ConfigError(
            "no metric is named",
            field="metrics",
            value="",
            expected="one or more, such as fid50k_full",
        )
    for name in found:
        if not any(re.fullmatch(family.pattern, name) for family in FAMILIES):
            raise _unknown(name)
    return found


def _unknown(name: str) -> ConfigError:
    """The error of an unknown name, with the nearest known names."""
    known = [example for family in FAMILIES for example in family.examples]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return ConfigError(
        f"there is no metric {name!r}",
        field="metrics",
        value=name,
        expected="" if near else f"one such as {', '.join(f.examples[0] for f in FAMILIES[:4])}",
        remedy=(f"Did you mean {' or '.join(near)}? " if near else "")
        + "See: segan metrics --list",
    )
