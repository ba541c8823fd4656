# SPDX-License-Identifier: MIT
"""JSON checked against a schema: the part of JSON Schema (draft 2020-12) that
contrib/schemas uses. A schema with another keyword is an error, so that nothing in it is
passed over.
"""
import re

TYPES = {"array": list, "boolean": bool, "integer": int, "object": dict, "string": str}
KEYWORDS = {"$schema", "$defs", "$ref", "title", "description", "type", "enum", "items",
            "required", "properties", "patternProperties", "additionalProperties",
            "pattern", "minLength", "minimum", "maximum"}


class SchemaError(Exception):
    """The schema, and not the value, is wrong."""


def is_type(value, name):
    if name not in TYPES:
        raise SchemaError(f"no such type: {name}")
    return isinstance(value, TYPES[name]) and (
        name != "integer" or not isinstance(value, bool))


def faults(value, schema, root=None, at="$"):
    """What is wrong with the value, as texts; none: it is right."""
    root = root or schema
    unknown = set(schema) - KEYWORDS
    if unknown:
        raise SchemaError(f"unknown keywords: {sorted(unknown)}")
    found = []
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        if name not in root["$defs"]:
            raise SchemaError(f"no such definition: {schema['$ref']}")
        found += faults(value, root["$defs"][name], root, at)
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(is_type(value, name) for name in types):
        return found + [f"{at}: {value!r} is not of type {types}"]
    if "enum" in schema and not any(
            value == one and isinstance(value, bool) == isinstance(one, bool)
            for one in schema["enum"]):
        found.append(f"{at}: {value!r} is none of {schema['enum']}")
    if isinstance(value, str):
        found += string_faults(value, schema, at)
    elif isinstance(value, int):
        found += [f"{at}: {value} is below {schema['minimum']}"
                  for _ in [0] if value < schema.get("minimum", value)]
        found += [f"{at}: {value} is above {schema['maximum']}"
                  for _ in [0] if value > schema.get("maximum", value)]
    elif isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            found += faults(item, schema["items"], root, f"{at}[{i}]")
    elif isinstance(value, dict):
        found += object_faults(value, schema, root, at)
    return found


def string_faults(value, schema, at):
    found = []
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{at}: {value!r} is not like {schema['pattern']}")
    if len(value) < schema.get("minLength", 0):
        found.append(f"{at}: {value!r} is too short")
    return found


def object_faults(value, schema, root, at):
    found = [f"{at}: no {name}" for name in schema.get("required", [])
             if name not in value]
    for name, member in value.items():
        rules = [schema["properties"][name]] if name in schema.get(
            "properties", {}) else []
        rules += [rule for pattern, rule in schema.get("patternProperties", {}).items()
                  if re.search(pattern, name)]
        if not rules and "additionalProperties" in schema:
            rules = [schema["additionalProperties"]]
        for rule in rules:
            found += faults(member, rule, root, f"{at}.{name}")
    return found
