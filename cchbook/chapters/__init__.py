"""What several chapters share: tables, figures, metrics, the scorecard, the known-truth
panel.
"""
