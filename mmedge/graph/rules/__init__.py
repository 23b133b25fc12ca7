"""Rules that recognise what a model computes in many operators and one operator of ours computes.

They meet in `mmedge.graph.fuse_stage`; each file says what one rule recognises.
"""
