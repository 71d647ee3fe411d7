"""RGMP (Oh, Lee, Sunkavalli, Kim, CVPR 2018)."""
