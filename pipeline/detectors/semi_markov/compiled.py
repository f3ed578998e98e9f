"""The recursion over a chain's states, compiled: the inner loops of `belief`.

Everything here takes plain arrays, so that numba can make machine code of it. `advance` is the only
entry. It does rows one after the other, so a series gives the same bytes however it is cut.
`pipeline.detectors.semi_markov.belief` says what the arrays mean.

The compiler may choose the order of a sum only in `_plus`, and only in loops that write nothing.
Where a loop writes, too, it makes two loops, one for arrays that lie close together in memory, with
sums in two orders: results then depended on where the arrays lay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from pipeline.data.compiled import compiled, instruction, part


@compiled
def advance(after, before, chances, tables, state):
    """Bring the weights from row to row, and give each row's chances.

    Parameters
    ----------
    after, before : ndarray of float32, shape (T', E, A) and (T', E, B)
        How well each response fits each row, as a factor.
    chances : ndarray of float32, shape (T', E)
        Where the chances are written.
    tables : Tables
        What the chain says of its states.
    state : State
        The weights, which change.
    """
    total = state.total
    happening = np.zeros(state.far.shape[:2], dtype=np.float32)
    for row in range(len(after)):
        scale = np.float32(1 / total[0])
        _happen(happening, tables, state)
        state.clock[0] += 1
        weight = _step_near(after[row], before[row], scale, happening, tables, state)
        weight += _step_far(after[row], scale, happening, tables, state)
        total[0] = weight
        _lose_track(tables, state)
        _look(chances[row], tables, state)


@part
def _happen(happening, tables, state):
    """Add up the states in which an event takes place with the next row, by pace and event."""
    happening[:] = 0
    near, merged, held = state.near, state.merged, state.held
    for pace in range(near.shape[0]):
        for pair in range(near.shape[1]):
            if held[pace, pair, -1] > 0:
                happening[pace, tables.next[pair]] += merged[pace, pair, 0]
            for slot in range(near.shape[2]):
                if held[pace, pair, slot] > 0:
                    happening[pace, tables.next[pair]] += near[pace, pair, slot, 0]


@part
def _approach(weights, cost, factor, ahead, come):
    """Move states that share their last and next event one row nearer to the next one.

    The last place is taken by `come`, which were far until now.
    """
    last, further = len(weights) - 1, weights[1:]
    for until in range(last):
        weights[until] = further[until] * (cost[until] * ahead[until]) * factor
    weights[last] = come * (cost[last] * ahead[last]) * factor
    return _add_up(weights)


@instruction
def _plus(typing: Any, one: Any, other: Any) -> Any:
    """Add to a sum whose order the compiler may choose, so that it adds several at once."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(*arguments, flags=("reassoc", "nsz"))

    return types.float32(types.float32, types.float32), emit


@part
def _add_up(weights):
    """Give the sum."""
    total = np.float32(0)
    for place in range(len(weights)):
        total = _plus(total, weights[place])
    return total


@part
def _multiply_and_add_up(weights, factors):
    """Give the sum of products."""
    total = np.float32(0)
    for place in range(len(weights)):
        total = _plus(total, weights[place] * factors[place])
    return total


@part
def _step_near(after, before, scale, happening, tables, state):
    """Move the states near the next event, and give their weights' sum."""
    near, merged, held, far = state.near, state.merged, state.held, state.far
    paces, pairs, ages, untils = near.shape
    longest, clock, total = far.shape[2], state.clock[0], 0.0
    fresh, least = clock % ages, tables.forgotten / scale
    for pace in range(paces):
        for pair in range(pairs):
            last, ahead, cost = tables.last[pair], before[tables.next[pair]], tables.cost_near[pair]
            nearing, away = tables.nearing[pace, pair], far[pace, last]
            known = state.afar[pace, last] > 0
            # What is too old for a response is together: the oldest slot goes there.
            oldest, old = near[pace, pair, fresh], merged[pace, pair]
            come = np.float32(0)
            if known:
                come = _multiply_and_add_up(away[ages - 1 :], nearing[ages - 1 :])
            if held[pace, pair, fresh] + held[pace, pair, ages] + come > least:
                for until in range(untils):
                    old[until] += oldest[until]
                kept = _approach(old, cost[ages], scale, ahead, come)
                held[pace, pair, ages] = kept
                total += kept
            elif held[pace, pair, ages] > 0:
                old[:] = 0
                held[pace, pair, ages] = 0
            # The slot is free for the event that has just happened.
            happened, kept = happening[pace, last], np.float32(0)
            if happened > least:
                factor, soon = happened * after[last, 0] * scale, tables.soon[pace, pair]
                for until in range(untils):
                    oldest[until] = soon[until] * (cost[0, until] * ahead[until]) * factor
                kept = _add_up(oldest)
            elif held[pace, pair, fresh] > 0:
                oldest[:] = 0
            held[pace, pair, fresh] = kept
            total += kept
            slot, rows, sums = fresh, near[pace, pair], held[pace, pair]
            for age in range(1, ages):
                slot = slot - 1 if slot else ages - 1
                come = np.float32(0)
                if known and age <= longest:
                    come = away[age - 1] * nearing[age - 1]
                if sums[slot] + come > least:
                    kept = _approach(rows[slot], cost[age], after[last, age] * scale, ahead, come)
                    sums[slot] = kept
                    total += kept
                elif held[pace, pair, slot] > 0:
                    near[pace, pair, slot] = 0
                    held[pace, pair, slot] = 0
    return total


@part
def _step_far(after, scale, happening, tables, state):
    """Move the states far from the next event, and give their weights' sum."""
    far, ages, total = state.far, state.near.shape[2], 0.0
    longest, least = far.shape[2], tables.forgotten / scale
    early, stayed = min(ages, longest), np.empty(longest, dtype=np.float32)
    for pace in range(far.shape[0]):
        for event in range(far.shape[1]):
            weights = far[pace, event]
            if state.afar[pace, event] + happening[pace, event] <= least:
                if state.afar[pace, event] > 0:
                    weights[:] = 0
                    state.afar[pace, event] = 0
                continue
            staying, cost = tables.staying[pace, event], tables.cost_far[event]
            for age in range(longest):
                stayed[age] = weights[age] * staying[age] * scale
            came = happening[pace, event] * tables.later[pace, event] * scale
            weights[0] = came * after[event, 0] * cost[0]
            for age in range(early - 1):
                weights[age + 1] = stayed[age] * after[event, age + 1] * cost[age + 1]
            for age in range(early - 1, longest - 1):
                weights[age + 1] = stayed[age]
            kept = _add_up(weights)
            state.afar[pace, event] = kept
            total += kept
    return total


@part
def _lose_track(tables, state):
    """Let a little weight begin anew: everything before may have been mistaken."""
    for pace in range(state.far.shape[0]):
        for event in range(state.far.shape[1]):
            added = np.float32(state.total[0] * tables.lost[pace, event])
            state.far[pace, event, tables.pause] += added
            state.afar[pace, event] += added


@part
def _look(chances, tables, state):
    """Add up the states in which a row lies within each event's label."""
    near, merged, held, far = state.near, state.merged, state.held, state.far
    paces, pairs, ages, _ = near.shape
    events, clock = far.shape[1], state.clock[0]
    seen, coming = tables.one_before.shape[3], tables.one_after.shape[3]
    chances[:] = 0
    ago, hence = np.empty(seen, dtype=np.float32), np.empty(coming, dtype=np.float32)
    for pace in range(paces):
        for event in range(events):
            ago[:] = 0
            for pair in range(pairs):
                if tables.last[pair] == event:
                    for age in range(seen):
                        ago[age] += held[pace, pair, (clock - age) % ages]
            for age in range(min(seen, far.shape[2])):
                ago[age] += far[pace, event, age]
            chances[event] += _add_up(ago)
            for other in range(events):
                one_before = tables.one_before[pace, event, other]
                chances[other] += _multiply_and_add_up(ago, one_before)
        for event in range(events):
            hence[:] = 0
            for pair in range(pairs):
                if tables.next[pair] == event:
                    for until in range(coming):
                        hence[until] += merged[pace, pair, until]
                    for slot in range(ages):
                        if held[pace, pair, slot] > 0:
                            for until in range(coming):
                                hence[until] += near[pace, pair, slot, until]
            chances[event] += _add_up(hence)
            for other in range(events):
                one_after = tables.one_after[pace, event, other]
                chances[other] += _multiply_and_add_up(hence, one_after)
    for event in range(events):
        chances[event] /= state.total[0]
