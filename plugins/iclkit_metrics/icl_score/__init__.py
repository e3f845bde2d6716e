"""In-context learning in single numbers: score, area, cost of a topic, topics outside the ensemble."""
