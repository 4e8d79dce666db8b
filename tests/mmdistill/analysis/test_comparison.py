"""Models are measured in turns, and their table is relative to the first."""

import json

import torch
from torch import nn

from mmdistill.analysis.comparison import as_markdown, measure, write

RUN = dict(commit='abc', date='2025-01-01', machine='m', torch='2', device='CPU', frames='2 frames')


class Model(nn.Linear):
    """Notes its turns."""

    def __init__(self, width, turns):
        super().__init__(8, width)
        self.turns = turns

    def test_step(self, batch):
        self.turns.append(self.out_features)
        return self(batch)


def test_models_take_turns_on_each_frame_and_the_first_turn_does_not_count():
    turns = []
    models = [Model(64, turns), Model(16, turns)]
    costs = measure(models, [torch.ones(3, 8), torch.ones(3, 8)], repeats=3)
    assert turns[:2] == [64, 16]
    assert turns[2:14] == [64, 16] * 6
    assert [cost['frames_timed'] for cost in costs] == [6, 6]
    assert [cost['dense_macs'] for cost in costs] == [3 * 8 * 64, 3 * 8 * 16]
    assert [cost['params'] for cost in costs] == [9 * 64, 9 * 16]
    assert all(cost['ms_per_frame'] > 0 for cost in costs)


def rows(**of_second):
    costs = dict(
        params=2_000_000,
        dense_macs=3e9,
        sparse_macs=1e9,
        ms_per_frame=40.0,
        ms_quartiles=(38.0, 45.0),
        processor_ms_per_frame=30.0,
        peak_bytes=None,
    )
    return {'a/large.py': costs, 'b/small.py': {**costs, 'params': 500_000, **of_second}}


def test_costs_are_shares_of_the_first_and_accuracies_stand_where_known():
    large, small = as_markdown(rows(mAP=0.61, NDS=0.52), RUN).splitlines()[2:4]
    assert large.startswith('| `large` | 2.00 M (100 %) | 4.0 (3.0 + 1.0; 100 %) | 40 (38 .. 45) |')
    assert small.startswith('| `small` | 0.50 M (25 %) |')
    assert small.endswith('| 0.610 | 0.520 |')


def test_other_metrics_have_columns_of_their_names(tmp_path):
    write(tmp_path / 'video.json', rows(top1=0.938), RUN, metrics=['top1'])
    lines = (tmp_path / 'video.md').read_text().splitlines()
    assert lines[0].endswith('| peak memory | top1 |')
    assert lines[3].endswith('| 0.938 |') and lines[2].endswith('|  |')
    assert (tmp_path / 'video.png').exists()


def test_a_plot_is_drawn_where_accuracies_are_known(tmp_path):
    write(tmp_path / 'none.json', rows(), RUN)
    write(tmp_path / 'new' / 'some.json', rows(mAP=0.61, NDS=0.52), RUN)
    assert not (tmp_path / 'none.png').exists()
    assert (tmp_path / 'new' / 'some.png').read_bytes().startswith(b'\x89PNG')
    result = json.loads((tmp_path / 'new' / 'some.json').read_text())
    assert result['run'] == RUN
    assert result['b/small.py']['mAP'] == 0.61
    assert '| `small` |' in (tmp_path / 'new' / 'some.md').read_text()
