"""Hearts to train on: domain randomisation after SynthSeg (Billot et al. 2023), from shapes that are known exactly.

draws -> anatomy (who) -> curves (the shapes in each slice) and stack (where the slices lie) -> contrast (signals)
-> surroundings, paint (the body, the heart in it) -> scanner (what the coils receive) -> sample (image and mask).
Everything is a pure function of (seed, number); nothing is copied from a real person. Unlike the phantom (cmr/phantom)
these are end diastoles alone, without DICOM, and far more varied than any one cohort: plausible in the main, and a
good share of it odd on purpose.
"""
