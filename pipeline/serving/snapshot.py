"""A stream's state as bytes, and back.

A state is a tree of dictionaries, lists, tuples and dataclasses with arrays and plain values at its
ends. Only the ends are written. The tree itself comes from a fresh stream of the same recipe, so
that reading a snapshot makes no object but arrays and plain values.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.data.names import Id
from pipeline.errors import DataError
from pipeline.serving.fitted_recipe import FittedRecipe

MAGIC = b"pipeline-stream-1\n"  # another way of writing a state takes another number
DIGEST = sha256().digest_size  # bytes, of the content


def leaves(tree: Any) -> Iterator[Any]:
    """Yield the ends of a tree, in a fixed order."""
    if isinstance(tree, dict):
        for key in sorted(tree):
            yield from leaves(tree[key])
    elif isinstance(tree, list | tuple):
        for each in tree:
            yield from leaves(each)
    elif is_dataclass(tree):
        for field in fields(tree):
            yield from leaves(getattr(tree, field.name))
    else:
        yield tree


def grown(tree: Any, ends: Iterator[Any]) -> Any:
    """Give a tree of the same form with other ends, in the order of `leaves`."""
    if isinstance(tree, dict):
        return {key: grown(tree[key], ends) for key in sorted(tree)}
    if isinstance(tree, list | tuple):
        return type(tree)(grown(each, ends) for each in tree)
    if is_dataclass(tree) and not isinstance(tree, type):
        return replace(tree, **{f.name: grown(getattr(tree, f.name), ends) for f in fields(tree)})
    return next(ends)


def pack(state: Any, fingerprint: str) -> bytes:
    """Write a state.

    Parameters
    ----------
    state : tree
        Its ends are arrays, and what JSON holds.
    fingerprint : str
        Of what it belongs to.

    Returns
    -------
    bytes
        `MAGIC`, the SHA-256 of the rest, and the rest: an npz file.
    """
    ends = list(leaves(state))
    arrays = {str(i): end for i, end in enumerate(ends) if isinstance(end, np.ndarray)}
    plain = {str(i): end for i, end in enumerate(ends) if not isinstance(end, np.ndarray)}
    header = {"fingerprint": fingerprint, "plain": plain}
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)
    content = file.getvalue()
    return MAGIC + sha256(content).digest() + content


def unpack(packed: bytes, fresh: Any, fingerprint: str) -> Any:
    """Read what `pack` wrote.

    Parameters
    ----------
    packed : bytes
        A snapshot.
    fresh : tree
        A state of the same form.
    fingerprint : str
        Of what it must belong to.

    Raises
    ------
    DataError
        The snapshot is damaged, or belongs to something else.
    """
    begin = len(MAGIC) + DIGEST
    if not isinstance(packed, bytes | bytearray | memoryview):
        raise DataError(f"snapshot: {type(packed).__name__}, where the bytes of one are expected")
    if packed[:begin] != MAGIC + sha256(packed[begin:]).digest():
        raise DataError(
            "snapshot: damaged, or not one that this version of the program took; "
            "start the stream anew"
        )
    with np.load(io.BytesIO(packed[begin:]), allow_pickle=False) as file:
        given = {name: file[name] for name in file.files}
    header = json.loads(str(given.pop("header")))
    if header["fingerprint"] != fingerprint:
        raise DataError(
            "snapshot: of another recipe, fit or subject; restore it into a stream of that one"
        )
    given |= header["plain"]
    return grown(fresh, (given[str(number)] for number in range(len(given))))


def fingerprint(recipe: FittedRecipe, subject: Id) -> str:
    """Name a fitted recipe by all that its predictions for a subject follow from.

    Parameters
    ----------
    recipe : FittedRecipe
        With its members.
    subject : int or Name
        Whose series are predicted.

    Returns
    -------
    str
        A digest: the same in every process, and another one after another fit.
    """
    digest = sha256()
    for part in _described(recipe, subject):
        digest.update(part)
    return digest.hexdigest()


def _described(recipe: FittedRecipe, subject: Id) -> Iterator[bytes]:
    yield f"{subject!s} {recipe.every}".encode()
    yield from _content(recipe.about)
    yield from _content(recipe.bank)
    yield from _content(recipe.detectors[subject])
    for member in recipe.members:
        yield from _described(member, subject)


def _content(part: Any) -> Iterator[bytes]:
    """Yield what tells one detector or description from another."""
    if isinstance(part, nn.Module):
        yield from _content(part.state_dict())
    elif isinstance(part, torch.Tensor):
        yield from _content(part.cpu().numpy())
    elif isinstance(part, np.ndarray):
        yield f"{part.dtype.str}{part.shape}".encode()
        yield np.ascontiguousarray(part).tobytes()
    elif isinstance(part, dict):
        for key in sorted(part, key=str):
            yield f"{key}:".encode()
            yield from _content(part[key])
    elif isinstance(part, list | tuple):
        yield f"[{len(part)}]".encode()
        for each in part:
            yield from _content(each)
    elif is_dataclass(part):
        yield type(part).__name__.encode()
        for field in fields(part):
            if field.compare:
                yield f"{field.name}:".encode()
                yield from _content(getattr(part, field.name))
    else:
        yield f"{part!r};".encode()
