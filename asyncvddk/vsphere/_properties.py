"""Properties of many objects with one question. Blocking: for functions that are given to ``VSphere.call``.

``content`` is the server's managers, as ``VSphere.content``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncvddk.vsphere._vim import Managed, moref, vim, vmodl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PAGE = 1000


def values_of(content: Managed, things: Sequence[Managed], path: str) -> dict[str, Managed]:
    """Return one property of objects of one type, by identifier; those that lack it are left out."""
    query = vmodl.query.PropertyCollector
    spec = query.FilterSpec(
        propSet=[query.PropertySpec(type=type(things[0]), all=False, pathSet=[path])],
        objectSet=[query.ObjectSpec(obj=thing, skip=False) for thing in things],
    )
    return {moref(thing): values[path] for thing, values in _retrieved(content, spec) if path in values}


def below(
    content: Managed, root: Managed, wanted: Mapping[Managed, Sequence[str]]
) -> list[tuple[Managed, dict[str, Managed]]]:
    """Return properties of all objects of the ``wanted`` types below ``root``, with one traversal."""
    query = vmodl.query.PropertyCollector
    view = content.viewManager.CreateContainerView(root, list(wanted), True)  # noqa: FBT003
    try:
        spec = query.FilterSpec(
            propSet=[query.PropertySpec(type=kind, all=False, pathSet=list(paths)) for kind, paths in wanted.items()],
            objectSet=[
                query.ObjectSpec(
                    obj=view,
                    skip=True,
                    selectSet=[query.TraversalSpec(name="view", type=vim.view.ContainerView, path="view", skip=False)],
                )
            ],
        )
        return list(_retrieved(content, spec))
    finally:
        view.Destroy()


def properties(content: Managed, thing: Managed, paths: Sequence[str]) -> dict[str, Managed]:
    """Return properties of one object; those that it lacks are left out. Raises ManagedObjectNotFound."""
    query = vmodl.query.PropertyCollector
    spec = query.FilterSpec(
        propSet=[query.PropertySpec(type=type(thing), all=False, pathSet=list(paths))],
        objectSet=[query.ObjectSpec(obj=thing, skip=False)],
    )
    return next((values for _, values in _retrieved(content, spec)), {})


def _retrieved(content: Managed, spec: Managed) -> Iterator[tuple[Managed, dict[str, Managed]]]:
    """Iterate over the answer, page by page."""
    collector = content.propertyCollector
    options = vmodl.query.PropertyCollector.RetrieveOptions(maxObjects=_PAGE)
    answer = collector.RetrievePropertiesEx([spec], options)
    while answer is not None:
        for found in answer.objects:
            yield found.obj, {entry.name: entry.val for entry in found.propSet or ()}
        answer = collector.ContinueRetrievePropertiesEx(answer.token) if answer.token else None
