"""Strategies that cut bytes into pieces."""

import itertools

from hypothesis import strategies as st


def cut(data, places):
    """Cut at the places that lie within the data, everywhere if they are None; no piece is empty."""
    if places is None:
        places = range(len(data))
    inside = sorted({0, len(data), *(place for place in places if place < len(data))})
    return [data[start:end] for start, end in itertools.pairwise(inside)]


PLACES = st.one_of(st.just([]), st.none(), st.lists(st.integers(0, 200), max_size=8))
"""Whole, byte by byte, or at random places."""
