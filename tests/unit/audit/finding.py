"""Finds by reading the code what must leave an audit entry, and where entries are written."""

import ast
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
Function = ast.FunctionDef | ast.AsyncFunctionDef

# Questions: they take the actor to tell what that person may do, and change nothing.
QUESTIONS = {
    "services.approvals.waiting_for",
    "services.generations.require_right",
    "services.order_deeds.may_steer",
    "services.planning.make_plan",
    "services.planning.plan",
}
# What people arrange for themselves: no task, no machine and nobody's rights depend on it.
PRIVATE = {
    "services.saved_views.remove_view",
    "services.saved_views.rename_view",
    "services.saved_views.save_view",
}
# Makes up the demo's past, which no person asks for.
OF_THE_DEMO = "portal.supervisor.history"
_WRITES = {"record", "save", "create", "update", "delete", "get_or_create", "update_or_create", "bulk_create"}
_DELIVERS = {"StreamingHttpResponse", "FileResponse", "content_disposition_header", "Content-Disposition"}


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """(name below `tasks_app`, its tree) of every module in these folders of `tasks_app`."""
    for folder in folders:
        for path in sorted((ROOT / "tasks_app" / folder).glob("*.py")):
            yield f"{folder}.{path.stem}", ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.Module) -> dict[str, Function]:
    """Module-level functions by name."""
    return {node.name: node for node in tree.body if isinstance(node, Function)}


def takes_actor(function: Function) -> bool:
    given = function.args
    return any(one.arg == "actor" for one in (*given.posonlyargs, *given.args, *given.kwonlyargs))


def words_in(function: Function) -> set[str]:
    """Names, attributes and texts that stand in it."""
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def reaches(tree: ast.Module, wanted: set[str]) -> set[str]:
    """Functions of the module in which one of `wanted` stands, or which use such a one, however indirectly."""
    said = {name: words_in(function) for name, function in functions(tree).items()}
    found = {name for name, words in said.items() if words & wanted}
    while more := {name for name, words in said.items() if words & found} - found:
        found |= more
    return found


def deeds_of(module: str, tree: ast.Module) -> set[str]:
    """Deeds by name: what a service does for an actor, and what a page or the API hands out as a file."""
    public = {name: function for name, function in functions(tree).items() if not name.startswith("_")}
    if module.startswith("services."):
        names = {name for name, function in public.items() if takes_actor(function)}
    else:
        names = reaches(tree, _DELIVERS) & set(public)
    return {f"{module}.{name}" for name in names} - QUESTIONS - PRIVATE


def all_deeds() -> set[str]:
    return {deed for module, tree in modules("services", "views", "api") for deed in deeds_of(module, tree)}


def missing(deeds: set[str], shown: set[str]) -> list[str]:
    """A sentence for each deed without an example."""
    return [
        f"{deed} does something for a person and has no example. Let it record one entry, and add a call of it to "
        f"tests/unit/audit/examples/ with @example({deed!r}, Action.…)."
        for deed in sorted(deeds - shown)
    ]


def writes_in(question: str) -> set[str]:
    """Calls in a function of QUESTIONS that would change something."""
    module, _, name = question.rpartition(".")
    tree = dict(modules("services"))[module]
    calls = [node.func for node in ast.walk(functions(tree)[name]) if isinstance(node, ast.Call)]
    return {getattr(call, "attr", getattr(call, "id", "")) for call in calls} & _WRITES


@cache
def recording(*, but: Collection[str] = (OF_THE_DEMO,)) -> dict[str, set[str]]:
    """Action word → the functions that pass it to `record`, by their full names. Not those of the modules in `but`."""
    found: dict[str, set[str]] = {}
    for path in sorted([*ROOT.glob("tasks_app/**/*.py"), *ROOT.glob("portal/**/*.py")]):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if module in but:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if not isinstance(function, Function):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "record":
                    word = call.args[0] if call.args else None
                    assert isinstance(word, ast.Attribute), f"{module}.{function.name} hides its action"
                    found.setdefault(word.attr, set()).add(f"{module}.{function.name}")
    return found
