"""The page of three tiny runs, and what it says where parts of them are missing."""

import re

import pytest

from mmdistill.report import build_page, read_runs, render
from mmdistill.report.domain import ReportDomain
from mmdistill.report.results import results_section


@pytest.fixture(scope='module')
def page(trained):
    return build_page(read_runs([str(trained)]), frames=6)


def section(page, key):
    return next(section for section in page.sections if section.key == key)


def test_the_table_holds_what_was_measured_and_gained(page, trained):
    runs = {run.role: run for run in read_runs([str(trained)])}
    table = section(page, 'results').blocks[0]
    head, rows = table.head, {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}
    assert list(head)[:3] == ['', 'confidence', 'confidence over alone']
    own, alone = (runs[role].result['confidence'] for role in ('distilled', 'alone'))
    assert rows['Student, distilled']['confidence'] == f'{own:.3f}'
    assert rows['Student, distilled']['confidence over alone'] == f'{own - alone:+.3f}'
    assert rows['Student, alone']['confidence over alone'] == '–'
    assert rows['Teacher']['Params'] == '0.003 M'
    assert f'{own - alone:+.3f} confidence over the student alone' in section(page, 'results').text


def test_the_diagram_says_what_joins_which_layers(page):
    (diagram,) = section(page, 'links').blocks
    (row,) = diagram.rows
    assert (row.student, row.teacher, row.loss, row.weight) == (
        'backbone[1]',
        'backbone[1]',
        'FitNetLoss',
        '0.5',
    )
    assert list(row.details) == ['through ConvConnector']


def test_the_page_needs_nothing_beside_it(page):
    html = render(page)
    for key in ('results', 'links', 'curves', 'features', 'runs'):
        assert f'<section id="{key}">' in html
    assert 'distilled' in html and '<script' not in html
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', html)
    assert not re.findall(r'url\((?!#|data:)', html)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(set(ids)) == len(ids)


def test_a_run_that_was_stopped_and_one_of_which_only_the_log_is_left(runs_folder):
    stopped = runs_folder / 'distilled'
    (table,) = stopped.glob('*/vis_data/scalars.json')
    lines = table.read_text().splitlines()
    table.write_text('\n'.join(lines[:2]) + '\n')
    for file in (*stopped.glob('*.pth'), stopped / 'last_checkpoint'):
        file.unlink()
    (log,) = (runs_folder / 'alone').glob('*/*.log')
    page = build_page(read_runs([str(stopped), str(log)]), frames=2)
    html = render(page)
    assert 'Student, distilled: stopped in epoch 1 of 2; the curves end there' in html
    assert 'Student, distilled: no validation or test yet (1 of 2 epochs, stopped)' in html
    assert 'Student, alone: no model to look at without its config and weights' in html
    assert 'not recorded' in html


def test_a_log_without_config_still_has_its_curves(runs_folder):
    (log,) = (runs_folder / 'alone').glob('*/*.log')
    text = log.read_text()
    start = text.index('Epoch(train)')
    log.write_text(text[text.rindex('\n', 0, start) + 1 :])
    page = build_page(read_runs([str(log)]))
    assert 'holds a config' in ' '.join(section(page, 'runs').notes)
    assert '<svg' in section(page, 'curves').blocks[0].svg


def test_students_that_differ_in_more_than_distillation_are_told_apart(trained):
    runs = read_runs([str(trained)])
    assert not results_section(runs, ReportDomain(), {}, '').notes
    runs[1].cfg.randomness.seed = 4
    runs[1].cfg.train_dataloader.dataset.length = 8
    (note,) = results_section(runs, ReportDomain(), {}, '').notes
    assert 'differ also in training data, seed' in note


def test_gains_over_several_seeds_have_their_interval(trained):
    runs = []
    for seed, gain in ((0, 0.2), (1, 0.3)):
        for run in read_runs([str(trained)])[1:]:
            run.cfg.randomness.seed = seed
            run.name = f'{run.role} {seed}'
            run.result = {'confidence': 0.5 + (gain if run.role == 'distilled' else 0)}
            runs.append(run)
    text = results_section(runs, ReportDomain(), {}, '').text
    assert text == (
        'Distilled: +0.250 confidence (95 % interval -0.385 to +0.885, 2 seeds) over the student '
        'alone.'
    )
