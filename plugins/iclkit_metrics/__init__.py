"""Built-in metrics, a folder each: spec.py says what it measures, metric.py computes it."""
