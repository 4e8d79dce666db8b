import csv
import json
import re
import shutil

import pytest

import medvl
from medvl.datasets.medpix import LABEL_FIELDS
from tests.medvl.conftest import CLASSES


@pytest.fixture
def own(tiny_root, tmp_path):
    """A copy of the data set that a test may spoil, and what changes lines of a file."""
    shutil.copytree(tiny_root, tmp_path / 'data')

    class Own:
        root = tmp_path / 'data'
        medpix = dict(data_root=str(root / 'MedPix-2-0'), split='train', classes=CLASSES)
        descriptions = root / 'MedPix-2-0' / 'splitted_dataset' / 'descriptions_train.jsonl'

        def change(self, change, path=None):
            """Let ``change`` alter the list of the file's lines."""
            path = path or self.descriptions
            lines = path.read_text().splitlines()
            change(lines)
            path.write_text('\n'.join(lines) + '\n')

    return Own()


def edit(line, **fields):
    """A JSON line with other fields, also of its description."""
    row = json.loads(line)
    for name, value in fields.items():
        (row['Description'] if name in row['Description'] else row)[name] = value
    return json.dumps(row)


# ------------------------------------------------------------------ MedPix
def test_medpix_gives_image_text_and_both_labels(medpix, tiny_root):
    dataset = medvl.MedPixDataset(**medpix, allow=['empty_text'])
    path = tiny_root / 'MedPix-2-0/splitted_dataset/descriptions_train.jsonl'
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(dataset) == len(rows)
    for index, row in enumerate(rows):
        info = dataset.get_data_info(index)
        assert CLASSES['modality'][info['modality_label']] == row['Type']
        assert CLASSES['location'][info['location_label']] == row['Location Category']
        assert info['img_path'].endswith(f'images/{row["image"]}.png')
        assert info['group'] == row['U_id']
        assert info['text'] in (row['Description']['Caption'], '')


def test_fields_of_the_label_never_reach_the_text(own):
    def texts():
        dataset = medvl.MedPixDataset(**own.medpix, allow=['empty_text'])
        return [dataset.get_data_info(index)['text'] for index in range(len(dataset))]

    def scramble(lines):
        for number, line in enumerate(lines):
            row = json.loads(line)
            fields = {name: 'leak' for name in LABEL_FIELDS if name in row['Description']}
            lines[number] = edit(
                line, **fields, Type='CT', Location='leak', **{'Location Category': 'Head'}
            )

    before = texts()
    own.change(scramble)
    assert texts() == before
    for field in LABEL_FIELDS:
        with pytest.raises(ValueError, match='are the label'):
            medvl.MedPixDataset(**own.medpix, text_fields=['Caption', field])


def test_the_text_may_have_more_fields(medpix):
    dataset = medvl.MedPixDataset(
        **medpix, text_fields=['Sex', 'Caption', 'History'], allow=['empty_text']
    )
    assert re.match(r'(fe)?male .* patient\.$', dataset.get_data_info(0)['text'])


def test_a_placeholder_is_no_text(own):
    own.change(lambda lines: lines.__setitem__(2, edit(lines[2], Caption='Replace this - X.')))
    own.change(lambda lines: lines.__setitem__(4, edit(lines[4], Caption=' ')))
    with pytest.raises(ValueError, match=r"line 3: 'Replace this - X\.'; line 5: ''"):
        medvl.MedPixDataset(**own.medpix)
    dataset = medvl.MedPixDataset(**own.medpix, allow=['empty_text'])
    assert dataset.faults['empty_text'] >= 2
    assert [dataset.get_data_info(index)['text'] for index in (2, 4)] == ['', '']


def test_every_fault_is_counted_and_named_with_its_lines(own):
    def spoil(lines):
        lines[0] = lines[0][:40]
        lines[1] = '[1, 2]'
        lines[3] = edit(lines[2])
        lines[4] = edit(lines[4], image='MPX_nowhere')
        lines[5] = edit(lines[5], **{'Location Category': 'Neck'})
        lines[6] = edit(lines[6], U_id='MPX99999')
        row = json.loads(lines[7])
        del row['Type']
        lines[7] = json.dumps(row)

    own.change(spoil)
    before = sum(1 for _ in own.descriptions.open())
    with pytest.raises(ValueError) as caught:
        medvl.MedPixDataset(**own.medpix, allow=['empty_text'])
    text = str(caught.value)
    assert 'descriptions_train.jsonl' in text
    assert 'unreadable: 4 lines cannot be read (line 1: no JSON' in text
    assert 'line 2: a list' in text
    assert "line 7: case 'MPX99999' is not in data_train.jsonl" in text
    assert "line 8: no field 'Type'" in text
    assert re.search(r'duplicate_id: 1 lines repeat an id \(line 4: .*as line 3\)', text)
    assert 'unknown_class: 1 lines have a label that is not among the classes (line 6' in text
    assert re.search(r'missing_image: 1 lines .*\(line 5: .*MPX_nowhere\.png\)', text)
    allow = re.search(r'allow=(\[.*\])', text).group(1)
    dataset = medvl.MedPixDataset(**own.medpix, allow=json.loads(allow.replace("'", '"')))
    assert len(dataset) == before - 7
    counts = dict(unreadable=4, duplicate_id=1, unknown_class=1, missing_image=1)
    assert {kind: dataset.faults[kind] for kind in counts} == counts


def test_unknown_classes_come_with_a_list_to_paste(own):
    wrong = dict(own.medpix, classes=dict(modality=['CT'], location=['Head', 'Tail']))
    with pytest.raises(ValueError, match='ready to paste') as caught:
        medvl.MedPixDataset(**wrong, allow=['empty_text'])
    pasted = {}
    exec(str(caught.value).splitlines()[-1], pasted)
    assert pasted['classes'] == CLASSES
    medvl.MedPixDataset(**dict(own.medpix, classes=pasted['classes']), allow=['empty_text'])


def test_a_file_that_is_not_there_says_how_to_get_it(own):
    with pytest.raises(FileNotFoundError, match=r'descriptions_val\.jsonl.*create_medsim'):
        medvl.MedPixDataset(**dict(own.medpix, split='val'))
    (own.descriptions.parent / 'data_train.jsonl').unlink()
    with pytest.raises(FileNotFoundError, match=r'data_train\.jsonl'):
        medvl.MedPixDataset(**own.medpix)


def test_no_usable_line_is_an_error(own):
    own.change(lambda lines: lines.clear())
    with pytest.raises(ValueError, match='no usable line'):
        medvl.MedPixDataset(**own.medpix)


def test_an_unknown_kind_of_fault_cannot_be_allowed(medpix):
    with pytest.raises(ValueError, match=r"\['everything'\]; the kinds of faults are"):
        medvl.MedPixDataset(**medpix, allow=['everything'])


# ------------------------------------------------------------------ Wound
def wound(root, **options):
    from medsim.wounds import SEVERITIES, TYPES

    classes = dict(wound_type=list(TYPES), severity=list(SEVERITIES))
    labels = dict(wound_type='type', severity='severity')
    arguments = dict(ann_file='metadata_train.csv', classes=classes, labels=labels) | options
    return medvl.WoundDataset(data_root=str(root / 'Wound-1-0'), **arguments)


def test_wound_gives_image_text_and_both_labels(tiny_root):
    dataset = wound(tiny_root)
    with (tiny_root / 'Wound-1-0/metadata_train.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(dataset) == len(rows)
    for index, row in enumerate(rows):
        info = dataset.get_data_info(index)
        assert dataset.classes['wound_type'][info['wound_type_label']] == row['type']
        assert dataset.classes['severity'][info['severity_label']] == row['severity']
        assert info['text'] == row['description']
        assert info['img_path'].endswith(row['file_path'])


def test_columns_of_other_names_are_named_in_the_config(own):
    table = own.root / 'Wound-1-0/metadata_train.csv'
    own.change(lambda lines: lines.__setitem__(0, 'photo,kind,grade,said'), table)
    with pytest.raises(ValueError, match=r"no column \['description', 'file_path', .*'photo'"):
        wound(own.root)
    dataset = wound(
        own.root, labels=dict(wound_type='kind', severity='grade'), image='photo', text='said'
    )
    assert dataset.get_data_info(0)['text']


def test_faults_of_a_table_have_their_lines(own):
    def spoil(lines):
        lines[2] = 'a.png,abrasion'
        lines[3] = lines[1]
        lines[4] = ','.join([*lines[4].split(',')[:3], '"n/a"'])
        lines[5] = 'nowhere.png,' + lines[5].split(',', 1)[1]

    own.change(spoil, own.root / 'Wound-1-0/metadata_train.csv')
    kinds = ['unreadable', 'duplicate_id', 'empty_text', 'missing_image']
    with pytest.raises(ValueError) as caught:
        wound(own.root)
    text = str(caught.value)
    assert '(line 3: 2 columns, expected 4)' in text
    for kind, line in (('repeat an id', 4), ('placeholder for it', 5), ('does not exist', 6)):
        assert re.search(rf'{kind} \(line {line}: ', text)
    assert wound(own.root, allow=kinds).faults == dict.fromkeys(kinds, 1)


def test_what_another_split_has_is_a_fault(own):
    folder = own.root / 'Wound-1-0'
    stray = (folder / 'metadata_train.csv').read_text().splitlines()[1]
    own.change(lambda lines: lines.append(stray), folder / 'metadata_test.csv')
    test = dict(ann_file='metadata_test.csv', apart_from=['metadata_dev.csv', 'metadata_train.csv'])
    with pytest.raises(ValueError, match='another split has .*, as metadata_train.csv'):
        wound(own.root, **test)
    assert wound(own.root, **test, allow=['in_other_split']).faults == {'in_other_split': 1}
    with pytest.raises(FileNotFoundError, match='metadata_gone.csv'):
        wound(own.root, ann_file='metadata_test.csv', apart_from=['metadata_gone.csv'])
    with pytest.raises(ValueError, match='cannot be apart from itself'):
        wound(own.root, apart_from=['metadata_train.csv'])
    split = dict(own.medpix, split='dev', apart_from=['train'])
    medvl.MedPixDataset(**split)
    case = json.loads(own.descriptions.read_text().splitlines()[0])['U_id']
    dev = own.descriptions.with_name('descriptions_dev.jsonl')
    cases = own.descriptions.with_name('data_dev.jsonl')
    own.change(lambda lines: lines.append(json.dumps(dict(U_id=case, Case={}))), cases)
    own.change(lambda lines: lines.append(edit(lines[0], U_id=case, image='other')), dev)
    with pytest.raises(ValueError, match=f"'{case}', as descriptions_train.jsonl"):
        medvl.MedPixDataset(**split)


def test_a_label_cannot_be_the_text(tiny_root):
    with pytest.raises(ValueError, match="column 'severity' is a label"):
        wound(tiny_root, text='severity')
