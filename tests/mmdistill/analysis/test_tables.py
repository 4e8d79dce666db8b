"""Tables in Markdown files."""

import pytest

from mmdistill.analysis.tables import update_readme


def test_the_readme_changes_between_its_markers_only(tmp_path):
    readme = tmp_path / 'README.md'
    readme.write_text('before\n<!-- demo-table -->\nold\n<!-- /demo-table -->\nafter\n')
    for _ in range(2):
        update_readme(readme, 'new\n')
    assert readme.read_text() == ('before\n<!-- demo-table -->\nnew\n<!-- /demo-table -->\nafter\n')


def test_a_readme_without_markers_is_left_alone(tmp_path):
    readme = tmp_path / 'README.md'
    readme.write_text('text')
    with pytest.raises(ValueError, match='demo-table'):
        update_readme(readme, 'new')
    assert readme.read_text() == 'text'
