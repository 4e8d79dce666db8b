"""What was run: configs, seeds, machines, hours, and the links as a diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdistill.apis.progress import length
from mmdistill.report.content import Diagram, DiagramRow, Section, Table
from mmdistill.report.runs import Run, teachers_of

_HEAD = ('', 'Config', 'Seed', 'Trained', 'Time', 'Commit', 'Machine', 'Weights')


def runs_section(runs: Sequence[Run]) -> Section:
    """A row for each run; what is not recorded is noted."""
    section = Section('runs', 'Runs')
    rows = []
    for run in runs:
        if run.cfg is None:
            section.notes.append(
                f'{run.name}: neither {run.path} nor its log holds a config, so that nothing is '
                'known of its links and its model'
            )
        if run.log.train and 'commit' not in run.origin:
            section.notes.append(
                f'{run.name}: the commit was not recorded (tools/train.py writes it to origin.json)'
            )
        if run.path.is_dir() and run.checkpoint is None:
            section.notes.append(f'{run.name}: no weights in {run.path}')
        hours = run.log.hours
        device = run.origin.get('device') or run.log.facts.get('device')
        machine = ', '.join(filter(None, (run.origin.get('machine'), device)))
        rows.append(
            (
                run.name,
                run.config_name,
                '' if run.seed is None else str(run.seed),
                trained(run),
                '' if hours is None else length(3600 * hours),
                run.origin.get('commit', ''),
                machine,
                '' if run.checkpoint is None else Path(run.checkpoint).name,
            )
        )
    caption = (
        'Time is that of a training step, in the median, times the steps; validation adds to it.'
    )
    section.blocks.append(Table(_HEAD, rows, caption))
    return section


def links_section(runs: Sequence[Run]) -> Section | None:
    """What was distilled from what, a diagram for each set of links; None without a distiller."""
    section = Section('links', 'What was distilled', 'Student’s layer ← link ← teacher’s layer.')
    seen: dict[str, list[Run]] = {}
    for run in runs:
        if run.is_distiller and run.cfg.model.links:
            seen.setdefault(str(run.cfg.model.links), []).append(run)
    for same in seen.values():
        run = same[0]
        model = run.cfg.model
        teachers = teachers_of(model)
        rows = [_row(name, link, teachers) for name, link in model.links.items() if link]
        starts = [h['type'] for h in run.cfg.get('custom_hooks') or () if 'InitHook' in h['type']]
        start = f' It started from the teacher’s weights ({starts[0]}).' if starts else ''
        caption = f'{", ".join(r.name for r in same)}.{start}'
        names = ', '.join(filter(None, (_name(t.get('config')) for t in teachers.values())))
        section.blocks.append(
            Diagram(_name(model.student.get('config')) or 'student', names, rows, caption)
        )
    return section if section.blocks else None


def trained(run: Run) -> str:
    """How far a run came."""
    unit = 'epochs' if run.counts_epochs else 'iterations'
    if not run.log.train:
        return 'before'
    if run.planned is None:
        return f'{run.reached} {unit}'
    if run.is_finished:
        return f'{run.planned} {unit}'
    return f'{run.reached} of {run.planned} {unit}, stopped'


def _row(name: str, link: Mapping[str, Any], teachers: Mapping[str, Any]) -> DiagramRow:
    loss = dict(link['loss'])
    kind, own = loss.pop('type'), loss.pop('loss_weight', 1.0)
    weight = link.get('weight', 1.0)
    details = [_names('through', link.get('student_connector'))]
    details += [_names('teacher through', link.get('teacher_connector'))]
    details += [_names('weighed by', link.get('mask')), _schedule(link.get('schedule'))]
    details += [f'{key} = {value}' for key, value in loss.items() if not isinstance(value, Mapping)]
    teacher = _layer(link['teacher'])
    if len(teachers) > 1:
        teacher = f'{link.get("teacher_name", "teacher")}: {teacher}'
    total = f'{weight * own:g}'
    if not weight:
        total = '0 (off)'
    return DiagramRow(
        name, _layer(link['student']), teacher, kind, total, [item for item in details if item]
    )


def _layer(spec: Any) -> str:
    if isinstance(spec, str):
        return spec
    kind = spec.get('type', 'ModuleOutputs')
    return spec['layer'] if kind == 'ModuleOutputs' else f'{spec["layer"]} ({kind})'


def _names(word: str, parts: Any) -> str:
    parts = [parts] if isinstance(parts, Mapping) else parts or []
    return f'{word} {", ".join(part["type"] for part in parts)}' if parts else ''


def _schedule(schedule: Any) -> str:
    schedules = [schedule] if isinstance(schedule, Mapping) else schedule or []
    return '; '.join(
        ', '.join(f'{key} {value}' for key, value in item.items()) for item in schedules
    )


def _name(config: Any) -> str:
    return Path(config).stem if isinstance(config, str) else ''
