"""Texts to numbers, by tokenizers that lie in folders."""

import copy
import pickle

import pytest
import torch

from mmdistill_hf import HFTokenizer, train_wordpiece
from tests.mmdistill_hf.conftest import CAPTIONS


@pytest.fixture
def folder(tmp_path):
    train_wordpiece(CAPTIONS, vocab_size=60, folder=tmp_path / 'tokens')
    return tmp_path / 'tokens'


def test_texts_of_a_batch_are_padded_and_masked(folder):
    tokenize = HFTokenizer(folder, max_length=32)
    batch = tokenize(CAPTIONS)
    lengths = batch['attention_mask'].sum(1)
    assert batch['input_ids'].shape == (3, lengths.max())
    assert (batch['input_ids'][batch['attention_mask'] == 0] == 0).all()
    decoded = tokenize.load().decode(batch['input_ids'][2], skip_special_tokens=True)
    assert decoded == 'the person sits down.'
    assert (
        HFTokenizer(folder, max_length=32, pad_to='max_length')(CAPTIONS)['input_ids'].shape[1]
        == 32
    )
    assert HFTokenizer(folder, max_length=4)(CAPTIONS)['input_ids'].shape[1] == 4


def test_the_same_texts_give_the_same_vocabulary(folder, tmp_path):
    train_wordpiece(CAPTIONS, vocab_size=60, folder=tmp_path / 'again')
    once, again = HFTokenizer(folder), HFTokenizer(tmp_path / 'again')
    assert once.load().get_vocab() == again.load().get_vocab()


def test_it_is_read_when_first_called_and_travels_to_workers(folder):
    nowhere = HFTokenizer('owner/nowhere')
    with pytest.raises(FileNotFoundError, match='hf download owner/nowhere'):
        nowhere(CAPTIONS)
    tokenize = HFTokenizer(folder)
    tokenize.load()
    for other in (pickle.loads(pickle.dumps(tokenize)), copy.deepcopy(tokenize)):
        assert torch.equal(other(CAPTIONS)['input_ids'], tokenize(CAPTIONS)['input_ids'])


def test_what_is_no_list_of_texts_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match='list of texts, got one str'):
        HFTokenizer(folder)('a scan')
    with pytest.raises(ValueError, match=r"list of texts, got \['float'\]"):
        HFTokenizer(folder)(['a scan', float('nan')])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match=r'vocab_size is 20, and \d+ tokens are needed to spell'):
        train_wordpiece(CAPTIONS, vocab_size=20, folder=tmp_path)
    with pytest.raises(FileNotFoundError, match='empty holds nothing; write it again'):
        HFTokenizer(tmp_path / 'empty')(CAPTIONS)
