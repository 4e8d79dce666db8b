"""From two configs to a distillation config: what fits, what is written, what it costs."""

from mmdistill3d.planning.narrow import narrow
from mmdistill3d.planning.pair import Pair, Side, read_pair
from mmdistill3d.planning.plan import Plan, make_plan, try_plan
from mmdistill3d.planning.prepare import Prepared, Request, prepare, write
from mmdistill3d.planning.recipes import RECIPES

__all__ = [
    'RECIPES',
    'Pair',
    'Plan',
    'Prepared',
    'Request',
    'Side',
    'make_plan',
    'narrow',
    'prepare',
    'read_pair',
    'try_plan',
    'write',
]
