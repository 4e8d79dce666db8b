"""What tools/preflight.py checks, one module for each part of a run, in the order of a run."""
