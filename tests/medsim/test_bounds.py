"""The best possible accuracies hold on the files: they are reached, and not exceeded."""

import csv
import json
from collections import Counter, defaultdict

import cv2
import numpy as np
import pytest

from medsim import bounds, read_evidence
from medsim.evidence import BOTH, IMAGE, TEXT, Draw
from medsim.scans import outcomes as scan_outcomes

WAYS = dict(both=BOTH, image=IMAGE, text=TEXT)
TASKS = [(layout, task) for layout in ('medpix', 'wound') for task in bounds(layout)]


def test_bounds_are_those_that_counting_by_hand_gives():
    # Location from the text: an organ named (0.2) tells it; a finding (0.6) leaves 2, 2 or 1
    # locations; nothing (0.2) leaves five.
    by_text = 0.2 + 0.6 * (0.4 / 2 + 0.4 / 2 + 0.2) + 0.2 / 5
    # From the image: organs drawn (0.2) tell it; of the others 0.6 are a trunk, of three locations
    # or (a quarter of them) of any, and 0.4 are round, of two or any.
    by_image = 0.2 + 0.8 * (0.6 * (0.75 / 3 + 0.25 / 5) + 0.4 * (0.75 / 2 + 0.25 / 5))
    assert bounds('medpix')['location'] == pytest.approx(dict(both=1, image=by_image, text=by_text))
    assert bounds('medpix')['modality'] == pytest.approx(dict(both=1, image=0.85, text=0.7))
    assert bounds('wound')['severity'] == pytest.approx(dict(both=1, image=0.5, text=0.5))
    assert bounds('wound')['type'] == pytest.approx(
        dict(both=1, image=0.2 + 0.8 * (0.75 / 2 + 0.25 / 6), text=0.2 + 0.6 / 3 + 0.2 / 6)
    )


def test_draws_follow_the_probabilities():
    outcomes = scan_outcomes()
    draw, random = Draw(outcomes), np.random.default_rng(0)
    found = Counter(outcomes.index(draw(random)) for _ in range(20000))
    for i, outcome in enumerate(outcomes):
        expected = 20000 * outcome.probability
        assert abs(found[i] - expected) < 5 * expected**0.5


@pytest.mark.parametrize('layout, task', TASKS)
@pytest.mark.parametrize('way', WAYS)
def test_a_guess_by_what_the_files_show_reaches_the_bound(medsim_root, layout, task, way):
    def seen(outcome):
        return tuple(getattr(outcome, name) for name in WAYS[way])

    chances = defaultdict(Counter)
    for outcome in read_evidence(medsim_root, layout, 'train').values():
        chances[seen(outcome)][outcome.labels[task]] += 1
    test = read_evidence(medsim_root, layout, 'test').values()
    known = [outcome for outcome in test if seen(outcome) in chances]
    hits = [chances[seen(o)].most_common(1)[0][0] == o.labels[task] for o in known]
    bound = bounds(layout)[task][way]
    assert abs(np.mean(hits) - bound) <= _error(bound, len(hits)) + 0.02  # few of some evidence


@pytest.mark.parametrize('layout, task', TASKS)
@pytest.mark.parametrize('way', ['image', 'text'])
def test_a_probe_on_one_side_of_the_files_stays_below_the_bound(files, layout, task, way):
    train, test = files[layout, 'train'], files[layout, 'test']
    hits = _probe(train[way], train[task], test[way]) == test[task]
    bound = bounds(layout)[task][way]
    assert hits.mean() <= bound + _error(bound, len(hits))
    if (way, task) != ('image', 'type'):  # told by shape, at any angle: see below
        assert hits.mean() >= 0.7 * bound


@pytest.mark.parametrize(
    'layout, way, field, least',
    [
        ('medpix', 'image', 'outline', 0.97),
        ('medpix', 'image', 'contrast', 0.8),
        ('medpix', 'text', 'finding', 0.99),
        ('medpix', 'text', 'organ', 0.99),
        ('medpix', 'text', 'modality', 0.99),
        ('wound', 'image', 'size', 0.85),
        ('wound', 'text', 'cause', 0.99),
        ('wound', 'text', 'name', 0.99),
        ('wound', 'text', 'depth', 0.99),
    ],
)
def test_the_files_show_their_evidence(files, layout, way, field, least):
    train, test = files[layout, 'train'], files[layout, 'test']
    guess = _probe(train[way], train[way + ':' + field], test[way])
    assert (guess == test[way + ':' + field]).mean() >= least


def test_the_shape_of_a_wound_can_be_measured(medsim_root):
    hits = []
    evidence = read_evidence(medsim_root, 'wound', 'test')
    for name, path, _ in _read_wound(medsim_root, 'test'):
        _, green, red = cv2.split(cv2.imread(str(path)).astype(np.float32))
        redness = cv2.GaussianBlur(red - green, (0, 0), 1)
        wound = redness > (redness.max() + np.median(redness)) / 2
        places = np.argwhere(wound)
        short, long = np.linalg.eigvalsh(np.cov(places.T)) ** 0.5
        center = tuple(places.mean(0).round().astype(int))
        shape = 'line' if long > 2 * short else 'round' if wound[center] else 'patch'
        hits.append(shape == dict(evidence[name].image)['shape'])
    assert np.mean(hits) > 0.9


@pytest.fixture(scope='module')
def files(medsim_root):
    """Pixels, bags of words, labels and evidence of each split, in arrays."""
    found = {}
    for layout, read in (('medpix', _read_medpix), ('wound', _read_wound)):
        words: dict[str, int] = {}
        for split in ('train', 'test'):
            evidence = read_evidence(medsim_root, layout, split)
            pixels, bags = [], []
            for name, path, text in read(medsim_root, split):
                image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                image = cv2.resize(image, (20, 20), interpolation=cv2.INTER_AREA)
                values = image.reshape(-1) / 127.5 - 1  # and how many there are of each tone
                pixels.append(np.concatenate([values, np.sort(values)]))
                bags.append([words.setdefault(word, len(words)) for word in _words(text)])
                assert name in evidence
            columns = dict(image=np.array(pixels), text=np.zeros((len(bags), 400)))
            for row, bag in zip(columns['text'], bags, strict=True):
                row[bag] = 1
            for task in bounds(layout):
                columns[task] = np.array([o.labels[task] for o in evidence.values()])
            for way in ('image', 'text'):
                rows = [dict(getattr(o, way)) for o in evidence.values()]
                for field in rows[0]:
                    columns[f'{way}:{field}'] = np.array([str(row[field]) for row in rows])
            found[layout, split] = columns
    return found


def _read_medpix(root, split):
    folder = root / 'MedPix-2-0'
    for line in (folder / f'splitted_dataset/descriptions_{split}.jsonl').read_text().splitlines():
        row = json.loads(line)
        yield row['image'], folder / f'images/{row["image"]}.png', row['Description']['Caption']


def _read_wound(root, split):
    folder = root / 'Wound-1-0'
    with (folder / f'metadata_{split}.csv').open() as file:
        for row in csv.DictReader(file):
            yield row['file_path'], folder / 'images' / row['file_path'], row['description']


def _words(text):
    return text.lower().replace('.', ' ').replace(',', ' ').split()


def _probe(train, labels, test):
    """Ridge regression on random features, as a classifier."""
    classes, targets = np.unique(labels, return_inverse=True)
    random = np.random.default_rng(0)
    weight = random.normal(0, 1.5 / np.sqrt(train.shape[1]), (train.shape[1], 700))
    shift = random.uniform(-1, 1, 700)
    features = [
        np.hstack([np.maximum(x @ weight + shift, 0), x, np.ones((len(x), 1))])
        for x in (train, test)
    ]
    gram = features[0].T @ features[0] + 10 * np.eye(features[0].shape[1])
    solution = np.linalg.solve(gram, features[0].T @ np.eye(len(classes))[targets])
    return classes[(features[1] @ solution).argmax(1)]


def _error(bound, count):
    """Three standard deviations of a count's share."""
    return 3 * (bound * (1 - bound) / count) ** 0.5
