"""Why a workflow was refused, by node and input; both dialects tell it in the same shape."""

from typing import Any

from tasks_app.sources.errors import SourceRefused
from tasks_app.sources.generation.comfyui.workflows import Recipe
from tasks_app.sources.generation.reading import members_of, text_of


def node_errors_text(errors: Any) -> str:
    """ "Node 1 (EmptyImage), width: Value -5 smaller than min of 1", all of them; "" for none."""
    return "; ".join(text for _, _, text in _node_errors(errors))[:2000]


def refused_nodes(errors: Any, words: str, recipe: Recipe, *, status: int) -> SourceRefused:
    """The refusal, with the text of each fault that belongs to a parameter in `fields`."""
    fields: dict[str, str] = {}
    for node, place, text in _node_errors(errors):
        if parameter := recipe.parameter_at(node, place):
            fields.setdefault(parameter, text)
    text = node_errors_text(errors) or words or "The server refuses the workflow."
    return SourceRefused(text, kind="invalid_request", status=status, fields=fields)


def _node_errors(errors: Any) -> list[tuple[str, str, str]]:
    """(node id, input name or "", sentence) of each fault, at most 20."""
    found = []
    for node, entry in list(members_of(errors).items())[:20]:
        kind = text_of(members_of(entry).get("class_type"), 100)
        faults = members_of(entry).get("errors")
        for fault in faults[:20] if isinstance(faults, list) else []:
            extra = members_of(members_of(fault).get("extra_info"))
            place = text_of(extra.get("input_name"), 100)
            words = text_of(members_of(fault).get("message"), 300)
            details = text_of(members_of(fault).get("details"), 300)
            where = f"Node {node[:40]}" + (f" ({kind})" if kind else "") + (f", {place}" if place else "")
            said = words if not details or details == place else f"{words} ({details})"
            found.append((node, place, f"{where}: {said}"))
    return found[:20]
