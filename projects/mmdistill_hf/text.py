"""Texts to vectors or tokens."""

from __future__ import annotations

from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.connectors.tokens import masked_mean
from mmdistill_hf.encoder import HFEncoder


@MODELS.register_module()
class HFTextEncoder(HFEncoder):
    """A text encoder of transformers: BERT, DistilBERT, CLIP's and whatever ``AutoModel`` knows.

    ================  ==========================================================
    ``pool``          what ``forward`` returns
    ================  ==========================================================
    ``'pooler'``      the model's own pooled vector, ``(B, C)``
    ``'projection'``  CLIP's embedding, ``(B, projection_dim)``
    ``'cls'``         the first token, ``(B, C)``
    ``'mean'``        the mean of the tokens that the mask keeps, ``(B, C)``
    ``'tokens'``      ``dict(tokens=(B, N, C), mask=(B, N))``
    ================  ==========================================================

    Texts become numbers in the model's data preprocessor, by a
    :class:`~mmdistill_hf.HFTokenizer`: teacher and student may have different ones.

    Config lines::

        text=dict(
            type='HFTextEncoder', pool='cls', config=dict(model_type='distilbert'),
            pretrained='distilbert-base-uncased')

    Args:
        config: As of :class:`~mmdistill_hf.encoder.HFEncoder`, and so are the others.
    """

    POOLS = ('pooler', 'projection', 'cls', 'mean', 'tokens')

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor | dict[str, Tensor]:
        """Encode tokens.

        Args:
            input_ids: ``(B, N)``.
            attention_mask: ``(B, N)``, 0 where a text is padded.
        """
        output = self.run(input_ids=input_ids, attention_mask=attention_mask)
        if self.pool == 'pooler':
            return output.pooler_output
        if self.pool == 'projection':
            return output.text_embeds
        tokens = output.last_hidden_state
        if self.pool == 'cls':
            return tokens[:, 0]
        if self.pool == 'mean':
            return masked_mean(tokens, attention_mask)
        return dict(tokens=tokens, mask=attention_mask)
