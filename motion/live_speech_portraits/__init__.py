"""*Live Speech Portraits* (Lu et al., SIGGRAPH Asia 2021, arXiv 2109.10595) as a motion backend."""
