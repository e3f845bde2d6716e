"""What can be written in a config, told from the specs: a commented example, a JSON schema, reference pages."""

from iclkit.manual.example import example
from iclkit.manual.keys import CONFIGURABLE, keys, type_words
from iclkit.manual.reference import reference
from iclkit.manual.schema import schema

__all__ = ["CONFIGURABLE", "example", "keys", "reference", "schema", "type_words"]
