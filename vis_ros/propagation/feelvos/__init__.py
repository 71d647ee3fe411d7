"""FEELVOS (Voigtlaender et al., CVPR 2019)."""
