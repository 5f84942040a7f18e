"""Runs of notebooks: what one leaves, what it is called,
and how many are run at once.
"""
