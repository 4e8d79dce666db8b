import csv
import json
import time

import cv2
import numpy as np
import pytest

from medsim import Parameters, generate_dataset, verify_dataset
from medsim.layouts import MEDPIX, WOUND
from medsim.vocabulary import merge_pieces

SMALL = Parameters(cases=30, wounds=20, size=32)


def test_same_seed_same_bytes(tmp_path):
    for name in 'ab':
        assert generate_dataset(tmp_path / name, SMALL)
    one, other = (verify_dataset(tmp_path / name, deep=True) for name in 'ab')
    assert one == other
    generate_dataset(tmp_path / 'c', Parameters(cases=30, wounds=20, size=32, seed=1))
    assert verify_dataset(tmp_path / 'c')['digest'] != one['digest']


def test_a_case_does_not_depend_on_how_many_there_are(tmp_path):
    generate_dataset(tmp_path / 'few', SMALL)
    generate_dataset(tmp_path / 'many', Parameters(cases=60, wounds=40, size=32))
    few = sorted((tmp_path / 'few').glob('*/images/*.png'))
    assert len(few) > 50
    for path in few:
        same = tmp_path / 'many' / path.relative_to(tmp_path / 'few')
        assert same.read_bytes() == path.read_bytes()


def test_3000_cases_take_seconds(tmp_path):
    start = time.process_time()
    generate_dataset(tmp_path / 'data', Parameters(cases=100, wounds=20))
    assert (time.process_time() - start) * 30 < 60


def test_medpix_layout(medsim_root):
    folder = medsim_root / MEDPIX
    groups = {}
    for split in ('train', 'dev', 'test'):
        images = _lines(folder / f'splitted_dataset/descriptions_{split}.jsonl')
        cases = _lines(folder / f'splitted_dataset/data_{split}.jsonl')
        cases = {case['U_id']: case for case in cases}
        groups[split] = set(cases)
        assert {row['U_id'] for row in images} == set(cases)
        for row in images:
            kind = {'CT': 'TAC', 'MR': 'MRI'}[row['Type']]
            assert row['image'] in cases[row['U_id']][kind]
            assert row['Location Category'] == cases[row['U_id']]['Topic']['Category']
            assert set(row['Description']) >= {'Caption', 'Age', 'Sex', 'Plane', 'Modality'}
            picture = cv2.imread(str(folder / f'images/{row["image"]}.png'), cv2.IMREAD_UNCHANGED)
            assert picture.shape == (48, 48)
        assert 1.2 < len(images) / len(cases) < 1.8
    assert not groups['train'] & groups['dev']
    assert not (groups['train'] | groups['dev']) & groups['test']


def test_wound_layout(medsim_root):
    folder = medsim_root / WOUND
    tables = {}
    for name in ('_train', '_dev', '_test', ''):
        with (folder / f'metadata{name}.csv').open(newline='') as file:
            tables[name] = list(csv.DictReader(file))
    assert tables[''] == tables['_train'] + tables['_dev'] + tables['_test']
    assert len({row['file_path'] for row in tables['']}) == 900
    assert set(tables[''][0]) == {'file_path', 'type', 'severity', 'description'}
    picture = cv2.imread(str(folder / 'images' / tables[''][0]['file_path']), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (48, 48, 3)


def test_a_finished_data_set_is_left_alone_and_another_is_refused(tmp_path):
    out = tmp_path / 'data'
    assert generate_dataset(out, SMALL)
    assert not generate_dataset(out, SMALL)
    other = Parameters(cases=30, wounds=20, size=40)
    with pytest.raises(ValueError, match=r"'size': 32.*'size': 40.*--force"):
        generate_dataset(out, other)
    assert generate_dataset(out, other, force=True)
    assert verify_dataset(out)['parameters']['size'] == 40
    assert [path.name for path in tmp_path.iterdir()] == ['data']


def test_damage_is_noticed(tmp_path):
    out = tmp_path / 'data'
    with pytest.raises(FileNotFoundError, match='create_medsim'):
        verify_dataset(out)
    generate_dataset(out, SMALL)
    image = next((out / MEDPIX / 'images').iterdir())
    content = bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    verify_dataset(out)
    with pytest.raises(FileNotFoundError, match='changed'):
        verify_dataset(out, deep=True)
    image.unlink()
    with pytest.raises(FileNotFoundError, match='files'):
        verify_dataset(out)


def test_a_folder_of_somebody_else_is_not_touched(tmp_path):
    (tmp_path / 'thesis.tex').write_text('years of work')
    with pytest.raises(FileExistsError, match='no medsim data set'):
        generate_dataset(tmp_path, SMALL, force=True)
    assert (tmp_path / 'thesis.tex').read_text() == 'years of work'


@pytest.mark.parametrize('wrong', [dict(cases=3), dict(size=8), dict(wounds=0), dict(seed=-1)])
def test_numbers_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Parameters(**wrong)


def test_pieces_are_what_occurs_most():
    words = {'bone': 9, 'bones': 1, 'lung': 1}
    alphabet = [*'bonesulg', *(f'##{c}' for c in 'bonesulg')]
    pieces = merge_pieces(words, alphabet, 30)
    assert pieces[:16] == alphabet
    assert 'bone' in pieces
    assert len(merge_pieces(words, alphabet, 17)) == 17


def test_every_text_is_tokenized_and_no_word_is_unknown(medsim_root):
    transformers = pytest.importorskip('transformers')
    with (medsim_root / WOUND / 'metadata_test.csv').open(newline='') as file:
        texts = [row['description'] for row in csv.DictReader(file)]
    lengths = {}
    for name in ('words', 'pieces'):
        tokenizer = transformers.AutoTokenizer.from_pretrained(medsim_root / 'tokenizers' / name)
        tokens = [tokenizer.tokenize(text) for text in texts]
        assert not any('[UNK]' in row for row in tokens)
        lengths[name] = np.mean([len(row) for row in tokens])
    assert lengths['pieces'] > 1.3 * lengths['words']


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
