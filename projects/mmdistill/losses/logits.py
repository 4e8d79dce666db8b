"""Logit losses: the student's class scores follow the teacher's.

Logits have their classes in axis 1: ``(N, C)``, ``(B, C, N)`` or dense maps ``(B, C, H, W)``.
They are what the head's last layer returns, before softmax or sigmoid: record the layer, not a
loss's input, which heads may rewrite in place. All is computed from logarithms, so large logits
neither overflow nor lose small probabilities.
"""

from __future__ import annotations

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmdistill.classes import ClassColumns, ClassMap, class_names
from mmdistill.connectors.checks import check_same_shape
from mmdistill.contracts import LinkLoss
from mmdistill.losses.reduce import as_float, divide, mask_like, weighted_mean
from mmdistill.reading.address import describe
from mmdistill.reading.shapes import Layer


class LogitLoss(LinkLoss):
    """Base of the losses between logits: a subclass says what ``compare`` does with them.

    Args:
        temperature: ``T``, above 0; logits are divided by it.
        loss_weight: Factor of the loss.
    """

    needs = ('mask',)
    min_classes = 2

    def __init__(self, temperature: float = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f'temperature must be positive, got {temperature}')
        self.temperature, self.loss_weight = temperature, loss_weight
        self.columns = ClassColumns()

    def bind_classes(self, student: nn.Module, teacher: nn.Module) -> None:
        """Join the classes of the two models by name, where both tell them."""
        names = class_names(student), class_names(teacher)
        classes = None if None in names else ClassMap(*names)
        if classes is not None:
            classes.demand_all(type(self).__name__)
        self.columns.join(classes)

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Check the two layers as far as they are known."""
        self.bind_classes(student.model, teacher.model)
        values = student.value, teacher.value
        if any(value is None for value in values):
            return
        # Where only the classes differ, their names may be known when the run starts.
        if self.columns.changes or not _differ_in_classes(*values):
            self._checked(*values)

    def forward(self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the loss between two tensors of logits.

        Args:
            student: ``(N, C)``, ``(B, C, N)`` or ``(B, C, H, W)``.
            teacher: The same shape, but for other classes that both models name.
            mask: Weights, at least 0, of samples ``(N,)`` or positions ``(B, N)``,
                ``(B, 1, H, W)``.

        Raises:
            ValueError: The shapes differ, or there are too few classes.
        """
        student, teacher = self._checked(student, teacher)
        return self.loss_weight * self.compare(student, teacher, mask)

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of logits of full precision."""
        raise NotImplementedError

    def _checked(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        if self.columns.changes and isinstance(teacher, Tensor):
            teacher = self.columns(teacher)
        check_same_shape(student, teacher)
        if student.dim() < 2 or student.shape[1] < self.min_classes:
            raise ValueError(
                f'{type(self).__name__} needs logits (B, C, ...) of {self.min_classes} or more '
                f"classes, got {describe(student)}; heads of one class take dict(type='KDLoss', "
                "activation='sigmoid')"
            )
        return as_float(student), as_float(teacher.detach())


@MODELS.register_module()
class KDLoss(LogitLoss):
    r"""Knowledge distillation: the divergence of softened class probabilities.

    ``activation='softmax'``, one class per position, with :math:`p = \mathrm{softmax}(z / T)`:

    .. math:: L = T^2\, \mathrm{mean} \sum_c p^t_c \log(p^t_c / p^s_c)

    ``activation='sigmoid'``, a yes or no for each class, as of heads trained with focal loss, with
    :math:`p_c = \sigma(z_c / T)`:

    .. math::
        L = T^2\, \mathrm{mean} \sum_c \left[ p^t_c \log \frac{p^t_c}{p^s_c}
          + (1 - p^t_c) \log \frac{1 - p^t_c}{1 - p^s_c} \right]

    which has the gradient of the binary cross entropy and is 0 where student and teacher agree.
    Means are over samples and positions, weighted by the mask.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", NIPS workshop 2014.

    Takes: logits (N, C), (B, C, N) or (B, C, H, W) of one shape; mask.

    Config lines::

        student='bbox_head.heatmap_head', teacher='bbox_head.heatmap_head',
        loss=dict(type='KDLoss', activation='sigmoid', temperature=2.0, loss_weight=1.0)

    Args:
        temperature: ``T``.
        activation: ``'softmax'`` or ``'sigmoid'``: how the head reads its logits.
        loss_weight: Factor of the loss.
    """

    min_classes = 1

    def __init__(
        self, temperature: float = 4.0, activation: str = 'softmax', loss_weight: float = 1.0
    ) -> None:
        super().__init__(temperature, loss_weight)
        self.activation = _check_activation(activation)

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of logits of full precision."""
        divergence = softmax_divergence if self.activation == 'softmax' else sigmoid_divergence
        each = divergence(student / self.temperature, teacher / self.temperature)
        return self.temperature**2 * weighted_mean(each, mask)


@MODELS.register_module()
class LogitStandardKDLoss(KDLoss):
    r"""KD between standardised logits: their shape counts, not their mean or spread.

    Each position's logits become :math:`z' = (z - \bar z) / \sqrt{\mathrm{var}(z) + \epsilon}`
    (mean and population variance over the classes) for student and teacher, and :class:`KDLoss`
    compares :math:`z' / T`: a small student need not reach the teacher's range of logits. It is
    not taught, either, how sure to be that there is anything at all: mask empty space out, or add
    a heatmap loss.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024.

    Takes: logits (N, C), (B, C, N) or (B, C, H, W) of one shape; mask.

    Config lines::

        student='bbox_head.heatmap_head', teacher='bbox_head.heatmap_head',
        loss=dict(type='LogitStandardKDLoss', temperature=2.0, loss_weight=2.0)

    Args:
        temperature: ``T``, the paper's base temperature.
        activation: ``'softmax'`` or ``'sigmoid'``.
        eps: :math:`\epsilon`, keeps the gradient of equal logits finite.
        loss_weight: Factor of the loss.
    """

    min_classes = 2

    def __init__(
        self,
        temperature: float = 2.0,
        activation: str = 'softmax',
        eps: float = 1e-6,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(temperature, activation, loss_weight)
        self.eps = eps

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of logits of full precision."""
        return super().compare(self._standardise(student), self._standardise(teacher), mask)

    def _standardise(self, logits: Tensor) -> Tensor:
        centred = logits - logits.mean(1, keepdim=True)
        return centred * (centred.square().mean(1, keepdim=True) + self.eps).rsqrt()


@MODELS.register_module()
class DKDLoss(LogitLoss):
    r"""Decoupled KD: the target class against the rest, and the rest among themselves.

    With :math:`p = \mathrm{softmax}(z / T)`, target class :math:`y`, :math:`b = (p_y, 1 - p_y)`
    and :math:`\hat p_c = p_c / (1 - p_y)` of the classes other than :math:`y`:

    .. math:: L = T^2\, \mathrm{mean}\, [\alpha\, KL(b^t \| b^s)
                                      + \beta\, KL(\hat p^t \| \hat p^s)]

    The target class is the label. Without labels, as in a link, it is the teacher's most likely
    class of the position.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022.

    Takes: logits (N, C), (B, C, N) or (B, C, H, W) of one shape; labels (optional); mask.

    Config lines::

        student='bbox_head.heatmap_head', teacher='bbox_head.heatmap_head',
        loss=dict(type='DKDLoss', beta=8.0, temperature=4.0, loss_weight=0.1)

    Args:
        alpha: Weight of target against rest.
        beta: Weight of the other classes among themselves.
        temperature: ``T``.
        loss_weight: Factor of the loss.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 8.0,
        temperature: float = 4.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(temperature, loss_weight)
        self.alpha, self.beta = alpha, beta

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Return the loss between two tensors of logits.

        Args:
            student: ``(N, C)``, ``(B, C, N)`` or ``(B, C, H, W)``.
            teacher: The same shape, but for other classes that both models name.
            mask: Weights, at least 0, of samples ``(N,)`` or positions ``(B, N)``,
                ``(B, 1, H, W)``.
            labels: Target classes, ``(N,)``, ``(B, N)`` or ``(B, H, W)``, each of ``0..C - 1``;
                give positions without a class a mask of 0.

        Raises:
            ValueError: The shapes differ, or there are less than two classes.
        """
        student, teacher = self._checked(student, teacher)
        target = teacher.argmax(1) if labels is None else labels.long()
        if target.shape != student[:, 0].shape:
            raise ValueError(
                f'labels are {describe(labels)}, the logits {describe(student)}: labels have the '
                "logits' shape without its axis 1"
            )
        (target_s, rest_s), (target_t, rest_t) = (
            _split_target(logits / self.temperature, target[:, None])
            for logits in (student, teacher)
        )
        each = self.alpha * _kl(target_s, target_t) + self.beta * _kl(rest_s, rest_t)
        return self.loss_weight * self.temperature**2 * weighted_mean(each, mask)


@MODELS.register_module()
class DISTLoss(LogitLoss):
    r"""Distillation from a stronger teacher: correlations, not equal values, of probabilities.

    With :math:`p` the softmax (or sigmoid) of :math:`z / T` as a matrix of samples and positions
    by classes, and Pearson's correlation :math:`\rho(x, y) = \mathrm{cov}(x, y) /
    \sqrt{\mathrm{var}(x)\, \mathrm{var}(y)}` (0 where one is constant):

    .. math:: L = T^2 [\beta\, \mathrm{mean}_i (1 - \rho(p^s_{i\cdot}, p^t_{i\cdot}))
                      + \gamma\, \mathrm{mean}_c (1 - \rho(p^s_{\cdot c}, p^t_{\cdot c}))]

    The first term relates the classes of a position, the second the positions (of the whole batch)
    of a class. A mask weighs positions in the first mean and in the correlations of the second.

    With ``activation='sigmoid'`` a class's column is its heatmap, and the second term
    correlates the heatmaps of both models.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022.

    Takes: logits (N, C), (B, C, N) or (B, C, H, W) of one shape; mask.

    Config lines::

        student='bbox_head.heatmap_head', teacher='bbox_head.heatmap_head',
        loss=dict(type='DISTLoss', activation='sigmoid', loss_weight=0.45)

    Args:
        beta: Weight of the relations between classes.
        gamma: Weight of the relations within a class.
        temperature: ``T``.
        activation: ``'softmax'`` or ``'sigmoid'``.
        loss_weight: Factor of the loss.
    """

    def __init__(
        self,
        beta: float = 1.0,
        gamma: float = 1.0,
        temperature: float = 1.0,
        activation: str = 'softmax',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(temperature, loss_weight)
        self.beta, self.gamma = beta, gamma
        self.activation = _check_activation(activation)

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of logits of full precision."""
        weight = torch.ones_like(student[:, 0])
        if mask is not None:
            weight = mask_like(weight, mask)
        weight = weight.flatten(1) if weight.dim() > 1 else weight[:, None]  # (B, positions)
        student, teacher = self._probabilities(student), self._probabilities(teacher)
        classes = student.shape[1]
        evenly = student.new_full((1, classes, 1), 1 / classes)
        between = 1 - _correlation(student, teacher, evenly, dim=1)
        total = weight.sum()
        share = divide(weight[:, None], total)
        within = (1 - _correlation(student, teacher, share, dim=(0, 2))).mean() * (total > 0)
        between = weighted_mean(between, weight)
        return self.temperature**2 * (self.beta * between + self.gamma * within)

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities of the classes of each sample and position, ``(B, C, positions)``."""
        logits = logits / self.temperature
        logits = logits.flatten(2) if logits.dim() > 2 else logits[..., None]
        return logits.softmax(1) if self.activation == 'softmax' else logits.sigmoid()


def softmax_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL divergence of softmax probabilities over axis 1, ``(B, C, ...)`` to ``(B, ...)``."""
    return _kl(student.log_softmax(1), teacher.log_softmax(1))


def sigmoid_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum over axis 1 of the binary KL divergences of sigmoids, ``(B, C, ...)`` to ``(B, ...)``."""
    yes = teacher.sigmoid() * (F.logsigmoid(teacher) - F.logsigmoid(student))
    no = (-teacher).sigmoid() * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return (yes + no).sum(1)


def _kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL divergence over axis 1 of log-probabilities."""
    return (teacher.exp() * (teacher - student)).sum(1)


def _split_target(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Split a distribution by its target class.

    Args:
        logits: ``(B, C, ...)``.
        target: ``(B, 1, ...)``.

    Returns:
        Log-probabilities of target and rest, ``(B, 2, ...)``, and of the other classes given
        that it is one of them, ``(B, C - 1, ...)``.
    """
    log_p = logits.log_softmax(1)
    rank = torch.arange(logits.shape[1] - 1, device=logits.device)
    rank = rank.view(-1, *[1] * (logits.dim() - 2))
    others = log_p.gather(1, rank + (rank >= target))
    rest = others.logsumexp(1, keepdim=True)
    return torch.cat([log_p.gather(1, target), rest], dim=1), others - rest


def _correlation(one: Tensor, other: Tensor, weight: Tensor, dim: int | tuple) -> Tensor:
    """Pearson's correlation over some axes, 0 where a side is constant to rounding.

    Args:
        one: ``(B, C, positions)``.
        other: The same shape.
        weight: Weights that sum to 1 over the axes, broadcast.
        dim: The axes.
    """
    one, other = _standardise(one, weight, dim), _standardise(other, weight, dim)
    return (weight * one * other).sum(dim)


def _standardise(values: Tensor, weight: Tensor, dim: int | tuple) -> Tensor:
    centred = values - (weight * values).sum(dim, keepdim=True)
    variance = (weight * centred.square()).sum(dim, keepdim=True)
    square = variance + (values - centred).square()
    varies = variance > (8 * torch.finfo(values.dtype).eps) ** 2 * square
    return centred * torch.where(varies, variance, 1).rsqrt() * varies


def _check_activation(activation: str) -> str:
    if activation not in ('softmax', 'sigmoid'):
        raise ValueError(f"activation is 'softmax' or 'sigmoid', not {activation!r}")
    return activation


def _differ_in_classes(student: Tensor, teacher: Tensor) -> bool:
    """Whether two tensors have one shape but for the number of classes."""
    shapes = [tuple(value.shape) for value in (student, teacher)]
    rest = [(shape[:1], shape[2:]) for shape in shapes]
    return rest[0] == rest[1] and shapes[0] != shapes[1]
