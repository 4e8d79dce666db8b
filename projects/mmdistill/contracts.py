"""The base classes of what travels through a link: losses, connectors, masks, targets, memories.

Each says what it needs of a step, and is told the two layers when the distiller is built. A class
of your own stands below one of these, in MMEngine's ``MODELS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mmengine.model import BaseModule
from torch import Tensor, nn

if TYPE_CHECKING:
    from mmdistill.reading.shapes import Layer

NEEDS = (
    'sample_idx',
    'data_samples',
    'teacher_predictions',
    'student_model',
    'teacher_model',
    'mask',
    'once',
)
"""What a loss or mask may ask a step for: see :class:`~mmdistill.step.Step`."""


class LinkLoss(BaseModule):
    """A loss between a student's and a teacher's feature; usable alone, and bound by a link.

    Config lines::

        links=dict(neck=dict(student='pts_neck[0]', teacher='pts_neck[0]', loss=dict(type=...)))
    """

    needs: tuple[str, ...] = ()
    """Names out of :data:`NEEDS`, which ``forward`` takes as keyword arguments."""

    joins: str = 'cells'
    """What two maps have in common before the loss sees them: ``'cells'``, where they are compared
    position by position; ``'range'``, where they are read as wholes; ``'nothing'``, where the loss
    reads each on a grid of its own."""

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Learn which layers are compared, behind their connectors, when the distiller is built.

        Here a loss makes the parts whose widths the config leaves to the layers, and checks those
        that it gives, and the two models.

        Raises:
            ValueError: The layers or models do not fit; the link's name is added.
        """

    def bind_classes(self, student: nn.Module, teacher: nn.Module) -> None:
        """Compare the classes of two models, where the run starts and their names are known.

        Features have no classes; a loss that reads them joins them by name
        (:class:`~mmdistill.classes.ClassColumns`) or refuses other lists.

        Raises:
            ValueError: The classes do not fit; the message gives both lists.
        """

    def forward(self, student: Any, teacher: Any, **needs: Any) -> Tensor:
        """Return a scalar; the teacher's side gets no gradient."""
        raise NotImplementedError


class Connector(BaseModule):
    """A module that a feature passes on its way to the loss."""

    joins_places = False
    """Whether it brings a map to another's places, so that a link adds nothing that does."""
    is_partial = False
    """Whether some of the result lies where the feature tells nothing, and is 0."""
    keeps_channels = False
    """Of a projector: whether the embedding is as wide as the feature."""

    def bind(self, layer: Layer, other: Layer) -> None:
        """Learn the layer in front of the connector, and the one at the link's other end.

        Raises:
            ValueError: The layers do not fit; the link's name is added.
        """

    def facts(self, layer: Layer) -> dict[str, Any]:
        """Return what of ``axes`` and ``range`` of a layer is another behind this connector."""
        return {}

    def forward(self, feature: Any) -> Any:
        """Return the feature for the next connector, or for the loss."""
        raise NotImplementedError


class Mask(BaseModule):
    """Says how much each position of the student's feature, behind its connector, counts."""

    needs: tuple[str, ...] = ()

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Learn the layers, as :meth:`LinkLoss.bind`."""

    def forward(self, feature: Tensor, **needs: Any) -> Tensor:
        """Return weights ``(B, 1, H, W)``, at least 0, for a map ``(B, C, H, W)``."""
        raise NotImplementedError


class Targets(nn.Module):
    """Adds what a teacher predicts to what the student is trained on."""

    def bind(self, student: nn.Module, teacher: nn.Module) -> None:
        """Check the two models when the distiller is built.

        Raises:
            ValueError: They do not fit.
        """

    def bind_classes(self, student: nn.Module, teacher: nn.Module) -> None:
        """Compare the classes of two models, as :meth:`LinkLoss.bind_classes`."""

    def forward(self, data_samples: Any, teacher_predictions: Any) -> Any:
        """Return new samples; links still see the given ones."""
        raise NotImplementedError


class Sampler:
    """Says what a contrastive loss contrasts: scenes, cells, objects."""

    needs: tuple[str, ...] = ()
    joins: str = 'range'
    """As of :class:`LinkLoss`."""
    projector: dict = dict(type='MLPProjector')
    """Config of the projectors that fit these features."""
    memory: dict = {}
    """Config of the memory that fits these samples."""
    columns: nn.Module | None = None
    """What of it moves with the loss: joins the classes of the two models."""

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Learn the layers, as :meth:`LinkLoss.bind`."""

    def bind_classes(self, student: nn.Module, teacher: nn.Module) -> None:
        """Compare the classes of two models, as :meth:`LinkLoss.bind_classes`."""

    def embedded(self, student: Layer, teacher: Layer) -> tuple[Layer, Layer]:
        """Return the layers that the projectors read, where they are parts of those linked."""
        return student, teacher

    def __call__(self, student: Any, teacher: Any, **needs: Any) -> Any:
        """Return :class:`~mmdistill.memory.samplers.Samples`."""
        raise NotImplementedError


class SampleMemory(nn.Module):
    """Keeps embeddings of samples over training.

    :class:`~mmdistill.hooks.DistillHook` tells it the length of the data set, brings its parts
    together before checkpoints, and reports what it had to skip.
    """

    counts_samples = True
    """Whether rows are keyed by ``sample_idx``, so that the data set's length must be known."""

    def resize(self, num_samples: int) -> None:
        """Make room for a data set of this many samples; the same length again changes nothing.

        Raises:
            ValueError: There are rows of a data set of another length.
        """

    def gather(self) -> None:
        """Bring what is spread over the ranks together, for the next ``state_dict()``."""

    @property
    def skipped(self) -> int:
        """Samples so far whose embedding was not finite; waits for the device."""
        return 0

    @property
    def is_spread(self) -> bool:
        """Whether its banks lie on several ranks."""
        return False

    @property
    def banks(self) -> dict[str, Tensor]:
        """The tensors of embeddings by their name in the state."""
        return {}


@runtime_checkable
class ProvidesExample(Protocol):
    """A model that can make up a batch, so that links read their widths from it."""

    def example_batch(self) -> dict[str, Any]:
        """Return a small raw batch as its ``data_preprocessor`` takes it, always the same one."""
