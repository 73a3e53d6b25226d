"""A process that makes short codes over and over, to be killed: python kill_optimize.py GALLERY."""

import sys

from engine import plan, planning
from engine.gallery import Gallery
from engine.optimize import optimize

planning.ALLOCATIONS = (384,)
plan.FIXED_COST, plan.MUST_SAVE = 0.0, 300.0  # of so few photos, codes would not pay
gallery = Gallery.open(sys.argv[1])
while True:
    for sample in (300, 600):  # another sample, another basis: other files each time
        planning.SAMPLE = sample
        optimize(gallery)
        sys.stdout.write("made\n")
        sys.stdout.flush()
