"""Data: `catalogue` finds, fetches and verifies it; the other modules load one
chapter's each.
"""
