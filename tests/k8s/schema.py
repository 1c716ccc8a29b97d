"""What an API server does with an object before it stores it: built-in kinds by kubernetes-validate, custom ones by
their CustomResourceDefinition, its CEL rules included (those that need no earlier version of the object)."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celpy
import jsonschema
import kubernetes_validate
import yaml
from celpy import celtypes
from celpy.adapter import json_to_cel

from tests.k8s.manifests import Object, Objects, Pod, name, pods

KUBERNETES = "1.36"
Schema = dict[str, Any]
OWN = ("apiVersion", "kind", "metadata")


def faults(objects: Objects, crds: Path) -> list[str]:
    """A line for each fault; an object of an unknown kind is one."""
    schemas = custom_schemas(crds)
    found: list[str] = []
    for each in objects:
        schema = schemas.get((each["apiVersion"], each["kind"]))
        lines = built_in(each) if schema is None else custom(each, schema)
        found += [f"{name(each)}: {line}" for line in lines]
    for pod in pods(objects):
        found += [f"{pod.where}: {line}" for line in core_pod(pod)]
    return found


def built_in(found: Object) -> list[str]:
    try:
        kubernetes_validate.validate(found, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError:
        return ["no schema of this kind"]
    return []


def core_pod(pod: Pod) -> list[str]:
    """A Ray kind's own schema lets through what the pod's would not."""
    return built_in({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": pod.template})


@functools.cache
def custom_schemas(crds: Path) -> dict[tuple[str, str], Schema]:
    """By (apiVersion, kind). ComputeClass comes as a JSON schema, PrometheusRule not at all."""
    found: dict[tuple[str, str], Schema] = {("monitoring.coreos.com/v1", "PrometheusRule"): RULE}
    for file in sorted(crds.rglob("*.yaml")):
        spec = yaml.load(file.read_text(), yaml.CSafeLoader)["spec"]
        for version in spec["versions"]:
            made = version["schema"]["openAPIV3Schema"]
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = made
    compute = json.loads((crds / "cloud.google.com" / "computeclass_v1.json").read_text())
    return {**found, ("cloud.google.com/v1", "ComputeClass"): compute}


def custom(found: Object, schema: Schema) -> list[str]:
    plain = _filled(found, schema)
    errors = jsonschema.Draft7Validator(_without_own(schema)).iter_errors(plain)
    lines = [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in errors]
    return lines or [*_walk(plain, schema, "")]


def _without_own(schema: Schema) -> Schema:
    """metadata is the API server's own matter."""
    return {**schema, "properties": {k: v for k, v in schema.get("properties", {}).items() if k not in OWN},
            "additionalProperties": True}


def _filled(value: Any, schema: Schema) -> Any:
    """Nulls dropped that may not be, defaults put in."""
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        kept = {k: v for k, v in value.items() if v is not None or known.get(k, {}).get("nullable")}
        for key, part in known.items():
            if "default" in part:
                kept.setdefault(key, part["default"])
        return {k: _filled(v, known.get(k) or (more if isinstance(more, dict) else {})) for k, v in kept.items()}
    if isinstance(value, list):
        return [_filled(item, schema.get("items", {})) for item in value]
    return value


def _walk(value: Any, schema: Schema, path: str) -> Iterator[str]:
    """Unknown fields, keys of list maps and sets, CEL."""
    for rule in schema.get("x-kubernetes-validations", []):
        if "oldSelf" not in rule["rule"] and not _holds(rule["rule"], value):
            yield f"{path}: {rule.get('message', rule['rule'])}"
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        open_end = schema.get("x-kubernetes-preserve-unknown-fields") or more is True or not (known or more is False)
        for key, item in value.items():
            below = known.get(key) or (more if isinstance(more, dict) else None)
            if below is None and not isinstance(more, dict) and not open_end and not (path == "" and key in OWN):
                yield f"{path}.{key}: unknown field"
            elif below is not None and not (path == "" and key in OWN):
                yield from _walk(item, below, f"{path}.{key}")
    elif isinstance(value, list):
        yield from _repeated(value, schema, path)
        for at, item in enumerate(value):
            yield from _walk(item, schema.get("items", {}), f"{path}.{at}")


def _repeated(value: list[Any], schema: Schema, path: str) -> Iterator[str]:
    kind = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys", [])
    seen = [json.dumps([item.get(k) for k in keys] if kind == "map" else item, sort_keys=True) for item in value]
    if kind in ("map", "set") and len(set(seen)) < len(seen):
        yield f"{path}: the same key twice"


def _holds(rule: str, value: Any) -> bool:
    return bool(_program(rule).evaluate({"self": json_to_cel(value)}))


@functools.cache
def _program(rule: str) -> Any:
    environment = celpy.Environment()
    return environment.program(environment.compile(rule), functions={"find": _find, "split": _split})


def _find(text: str, pattern: str) -> celtypes.StringType:
    """Kubernetes' own: the first match, or nothing."""
    match = re.search(pattern, text)
    return celtypes.StringType(match[0] if match else "")


def _split(text: str, by: str) -> celtypes.ListType:
    return celtypes.ListType([celtypes.StringType(part) for part in text.split(by)])


DURATION = {"type": "string", "pattern": r"^(0|(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?)$"}
WORDS = {"type": "object", "additionalProperties": {"type": "string"}}
ALERT = {"type": "object", "required": ["expr"], "properties": {
    "alert": {"type": "string"}, "expr": {"type": "string"}, "for": DURATION, "labels": WORDS, "annotations": WORDS}}
GROUP = {"type": "object", "required": ["name"], "properties": {
    "name": {"type": "string", "minLength": 1}, "interval": DURATION, "rules": {"type": "array", "items": ALERT}}}
RULE: Schema = {"type": "object", "required": ["spec"], "properties": {
    "spec": {"type": "object", "properties": {"groups": {"type": "array", "items": GROUP}}}}}
"""A PrometheusRule as far as lvray uses it, after the operator's API reference (v0.82)."""
