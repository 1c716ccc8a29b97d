"""What a heart study is: DICOM to slices, phases, geometry, outlines and grams."""
