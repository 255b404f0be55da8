"""How fast pagebook is: beside a page-by-page transcription of xv6 in Python, the same in C, and other programs.

Run as ``python -m bench`` from the top of the repository.  Nothing here is imported by the package.
"""
