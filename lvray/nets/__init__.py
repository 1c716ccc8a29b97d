"""The two networks of Khurshid et al. 2021. Needs torch, numpy and the standard library alone."""
