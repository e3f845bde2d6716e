"""Certificates: bounds on population losses that hold with a stated probability, from losses of independent units."""
