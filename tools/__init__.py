"""Command-line tools; a package so that they can share code and be tested."""
