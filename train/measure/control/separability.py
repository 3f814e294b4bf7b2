"""Linear separability of a latent space (Karras et al. 2019, Section 4.2 and Appendix A.2).

An estimator answers yes-no questions about n images. For each question, the half of the images with
the most confident answers is kept, and a linear SVM predicts the answer Y from the latent. With X
the SVM's answer, the score is exp(Σ H(Y | X)), in nats, over all questions: 1 when a hyperplane
separates the answers to every question. The paper takes n = 200,000 and 40 attributes of
photographs; the attributes here differ, so the values are not comparable with published ones. The
name states n: ``separability10k``. Needs scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segan.runtime.errors import ConfigError
from segan.train.data.faces.attributes import FACE_ATTRIBUTES
from segan.train.measure.control.attributes import READINGS
from segan.train.measure.control.bootstrap import Interval, bootstrap
from segan.train.measure.control.mig import entropy
from segan.train.measure.control.readings_sample import require_scikit

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

#: Share of the images that is kept for each question, as in the paper.
KEPT = 0.5


class Question(NamedTuple):
    """A yes-no question about images.

    Attributes:
        name: for example ``smile`` or ``glasses=round``.
        answers: [N].
        confidence: [N], how sure the estimator is.
    """

    name: str
    answers: Flags
    confidence: Array


class Separability(NamedTuple):
    """Score of a latent space.

    Attributes:
        score: exp(Σ H(Y | X)), 1 or more.
        entropies: H(Y | X) of each question, in nats.
        constant: questions with the same answer for all kept images, which count as separated.
    """

    score: float
    entropies: dict[str, float]
    constant: tuple[str, ...]


def metric_name(n: int) -> str:
    """Return ``separability10k`` for 10,000 images, and so on."""
    return f"separability{n // 1000}k" if n % 1000 == 0 else f"separability{n}"


def attribute_questions(readings: Array) -> list[Question]:
    """Return the questions about the attributes of the built-in faces.

    Whether a continuous attribute is above the middle of its range; whether the cosine of a hue
    (nearer to red than to cyan) and its sine are above 0; whether a categorical attribute has each
    of its values. Confidence is the distance from that threshold, or of the probability from ½.

    Args:
        readings: [N, OUTPUTS], from ``read_attributes``.
    """
    questions = []
    for reading, attribute in zip(READINGS, FACE_ATTRIBUTES, strict=True):
        part = readings[:, reading.columns]
        if reading.kind == "categorical":
            questions += class_questions(part, attribute.values, reading.name)
        else:
            ends = ("",) if reading.kind == "continuous" else (".cos", ".sin")
            questions += [
                Question(reading.name + end, column > 0, np.abs(column))
                for end, column in zip(ends, part.T, strict=True)
            ]
    return questions


def class_questions(
    probabilities: Array, names: Sequence[str], label: str = "label"
) -> list[Question]:
    """Ask for each class whether an image has it; of two classes, only for the second.

    Args:
        probabilities: [N, classes].
        names: of the classes.
        label: prefix of the questions' names.
    """
    likeliest = probabilities.argmax(1)
    wanted = range(len(names)) if len(names) > 2 else range(1, len(names))
    return [
        Question(f"{label}={names[k]}", likeliest == k, np.abs(probabilities[:, k] - 0.5))
        for k in wanted
    ]


def conditional_entropy(predicted: Flags, answers: Flags) -> float:
    """Return H(answer | predicted) in nats."""
    joint = [[np.sum((predicted == x) & (answers == y)) for y in (0, 1)] for x in (0, 1)]
    return max(0.0, entropy(joint) - entropy(np.sum(joint, axis=1)))


def separability(codes: Array, questions: Sequence[Question]) -> Separability:
    """Score a latent space.

    Each dimension is scaled to unit variance first, which leaves separability unchanged and helps
    the SVM.

    Args:
        codes: [N, D].
        questions: about the same N images.

    Raises:
        ConfigError: there is no question, there are fewer than 4 images, or scikit-learn is
            missing.
    """
    if not questions or len(codes) < 4 or not codes.shape[1]:
        raise ConfigError(
            f"{len(questions)} questions are given about codes of the shape {codes.shape}",
            field="questions",
            value=len(questions),
            expected="1 or more, about 4 or more images",
        )
    kept = [_most_confident(question) for question in questions]
    return _score(_standard(codes), questions, kept)


def separability_interval(
    codes: Array, questions: Sequence[Question], *, repeats: int = 10, seed: int = 0
) -> tuple[Separability, Interval]:
    """Score a latent space with an interval over seeds; the SVMs are fitted to each resample."""
    scores = separability(codes, questions)
    standard = _standard(codes)

    def statistics(rows: npt.NDArray[np.intp]) -> dict[str, float]:
        drawn = [Question(q.name, q.answers[rows], q.confidence[rows]) for q in questions]
        kept = [_most_confident(question) for question in drawn]
        return {"log": math.log(_score(standard[rows], drawn, kept).score)}

    found = bootstrap(statistics, len(codes), repeats, seed)["log"]
    return scores, Interval(*(math.exp(end) for end in found))


def _standard(codes: Array) -> Array:
    spread = codes.std(0)
    standard: Array = (codes - codes.mean(0)) / np.where(spread > 0, spread, 1)
    return standard


def _most_confident(question: Question) -> npt.NDArray[np.intp]:
    order = np.argsort(-question.confidence, kind="stable")
    return order[: max(2, int(len(order) * KEPT))]


def _score(
    codes: Array, questions: Sequence[Question], kept: Sequence[npt.NDArray[np.intp]]
) -> Separability:
    require_scikit()
    from sklearn.svm import LinearSVC

    entropies, constant = {}, []
    for question, rows in zip(questions, kept, strict=True):
        answers = question.answers[rows]
        if answers.all() or not answers.any():
            # No SVM can be fitted. The paper's code counts the answers as right, too.
            entropies[question.name] = 0.0
            constant.append(question.name)
            continue
        svm = LinearSVC(dual=False, random_state=0).fit(codes[rows], answers)
        predicted = np.asarray(svm.predict(codes[rows]), bool)
        entropies[question.name] = conditional_entropy(predicted, answers)
    return Separability(math.exp(sum(entropies.values())), entropies, tuple(constant))
