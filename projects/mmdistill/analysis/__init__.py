"""Measuring models, links and recipes."""
