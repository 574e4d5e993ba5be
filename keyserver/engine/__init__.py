"""Turns the effects of sessions into action, and offers them to everybody else."""
