"""The GINC generator: drawn and published topics, exact filters, prompts."""
