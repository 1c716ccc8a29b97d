"""A phantom UK Biobank: invented people whose beating hearts have a known mass, written as the real files are.

people -> heart, scan, torso -> signal (the pixels) and outlines -> participant -> headers, images -> ukb (the zips).
Everything is a pure function of (seed, number, options); nothing is copied from a real person.
"""
