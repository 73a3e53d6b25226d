"""Short codes: a photo in some 0.5 KB, with bounds of the canonical distance that are proven.

`basis` says what a code is measured from, `codes` what is kept of a photo, `queries` what is kept of a sketch, `bounds`
is the proof as a program (float64, the specification), `search` the exact answer by way of the bounds, and `fit` and
`allocate` choose a basis from data. `docs/certified-search.md` derives every slack that is used here.

Imports no torch but in `search`: who writes a gallery needs none.
"""
