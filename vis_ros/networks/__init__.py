"""Everything that has weights. Modules here import torch, except `config` and `weights`."""
