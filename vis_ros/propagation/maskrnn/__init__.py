"""MaskRNN (Hu, Huang, Schwing, NIPS 2017)."""
