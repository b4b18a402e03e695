"""From scores to claims: metrics with intervals, figures, the report."""
