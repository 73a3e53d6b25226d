"""`python -m mlrm.figures`: what a checkpoint sees and finds, as pictures, after the paper's figures 4 and 6.

Matplotlib comes with the extra `train`. Pictures of research data are not for the repository.
"""
