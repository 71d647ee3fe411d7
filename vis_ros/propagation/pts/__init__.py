"""PTS: propose, track, segment (Zhou et al. 2019, arXiv 1907.01203)."""
