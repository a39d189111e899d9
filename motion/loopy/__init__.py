"""*Loopy* (Jiang et al., ICLR 2025, arXiv 2409.02634) as a motion backend: a face net that sees tens of seconds back."""
