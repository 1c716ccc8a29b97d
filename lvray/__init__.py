"""lvray: left-ventricular mass in grams from short-axis cine cardiac MR."""

__version__ = "0.1.0"
