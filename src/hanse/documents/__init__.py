"""JSON and YAML from outside, decoded within bounds: how deep, how many values, how far aliases expand

Whoever decodes what a person, a member or a file says does it here, so that no text is too deep for what
walks over it later, and none grows in memory. Pure functions; a YAML text of a megabyte takes a second, so
callers in an event loop use a thread. Next: `hanse.documents.json_text`, `hanse.documents.yaml_text`.
"""

from hanse.documents.bounds import (
    MALFORMED,
    MAX_DEPTH,
    MAX_EXPANDED_BYTES,
    MAX_VALUES,
    TOO_DEEP,
    TOO_LARGE,
    check_bounds,
)
from hanse.documents.json_text import Structure, json_document, repeated_fields, structure
from hanse.documents.yaml_text import YamlText, read_yaml, to_yaml, yaml_document, yaml_documents, yaml_texts

__all__ = [
    "MALFORMED",
    "MAX_DEPTH",
    "MAX_EXPANDED_BYTES",
    "MAX_VALUES",
    "TOO_DEEP",
    "TOO_LARGE",
    "Structure",
    "YamlText",
    "check_bounds",
    "json_document",
    "read_yaml",
    "repeated_fields",
    "structure",
    "to_yaml",
    "yaml_document",
    "yaml_documents",
    "yaml_texts",
]
