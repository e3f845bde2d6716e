"""Certificates: metrics that join the bounds to what a run left."""
